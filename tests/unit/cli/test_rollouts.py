"""A command that waits for a rollout follows that rollout and no other."""

from collections.abc import Sequence
from io import StringIO

import pytest
from rich.console import Console

from services.cli.clients import rollouts
from services.cli.clients.control import NoRouter
from services.cli.clients.rollout_gate import Gate
from services.cli.clients.rollouts import Rollout, RolloutEvent, RolloutWorker, Step, follow
from services.cli.errors import CommandFailed
from services.cli.views.rollout import follow_rollout, history_table, rollout_table
from tests.unit.cli.terminal import shown

ROLLING = Rollout(
    id="r1",
    pool="tide",
    version="1" * 64,
    previous="0" * 64,
    state="rolling",
    reason="",
    started=1,
    ended=None,
    workers=(),
)
DONE = ROLLING.model_copy(update={"state": "done", "ended": 2.0})


def undoing(*versions: str) -> Rollout:
    workers = tuple(
        RolloutWorker(id=f"w{n}", state="ready", version=version, phase="", reason="")
        for n, version in enumerate(versions)
    )
    return ROLLING.model_copy(update={"state": "undoing", "reason": "w0: no", "workers": workers})


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Rollout | NoRouter]:
    """What the routers will answer, in order."""
    waiting: list[Rollout | NoRouter] = []

    async def last(routers: Sequence[str], pool: str, *, speculator: bool = False) -> Rollout:
        answer = waiting.pop(0)
        if isinstance(answer, NoRouter):
            raise answer
        return answer

    monkeypatch.setattr(rollouts, "last", last)
    monkeypatch.setattr(rollouts, "POLL_S", 0)
    return waiting


async def test_it_ends_with_the_rollout_and_routers_may_be_away_for_a_while(answers: list[Rollout | NoRouter]) -> None:
    answers += [ROLLING, NoRouter("away"), DONE]
    shown: list[Rollout] = []
    assert await follow(("a:1",), ROLLING, shown.append) == DONE
    assert not answers
    assert shown == [ROLLING, ROLLING, DONE]


async def test_another_rollout_of_the_pool_is_not_taken_for_it(answers: list[Rollout | NoRouter]) -> None:
    answers += [DONE.model_copy(update={"id": "r2", "version": "2" * 64})]
    with pytest.raises(CommandFailed, match="another rollout by now, to 2222"):
        await follow(("a:1",), ROLLING, lambda _: None)


async def test_without_a_terminal_each_change_is_printed_once(answers: list[Rollout | NoRouter]) -> None:
    answers += [ROLLING, NoRouter("away"), DONE]
    output = StringIO()
    assert await follow_rollout(("a:1",), ROLLING, Console(file=output)) == DONE
    assert output.getvalue() == "tide: done\n"


async def test_a_version_that_the_first_worker_refuses_leaves_nothing_to_undo(
    answers: list[Rollout | NoRouter],
) -> None:
    refusing = undoing(ROLLING.previous, ROLLING.previous)
    refused = RolloutWorker(id="w0", state="ready", version=ROLLING.previous, phase="failed", reason="not in place")
    refusing = refusing.model_copy(update={"workers": (refused, *refusing.workers[1:])})
    answers += [refusing, refusing.model_copy(update={"state": "failed", "ended": 2.0})]
    output = StringIO()
    ended = await follow_rollout(("a:1",), ROLLING, Console(file=output, width=200))
    assert output.getvalue().splitlines() == [
        "w0: failed not in place",
        "tide: refused, no worker has changed",
        "tide: failed",
    ]
    with pytest.raises(CommandFailed, match="w0: no\n2 of 2 workers serve 0000"):
        ended.check()


def test_a_rollout_is_undone_as_long_as_a_worker_has_the_new_version() -> None:
    assert "tide: undoing, 1 of 2 workers" in shown(rollout_table(undoing(ROLLING.previous, ROLLING.version)))[0]
    assert "tide: refused, no worker has changed, 1 of 1 workers" in shown(rollout_table(undoing(ROLLING.previous)))[0]


def test_a_canary_says_where_it_is_what_it_waits_for_and_who_started_it() -> None:
    canary = ROLLING.model_copy(
        update={
            "policy": "canary",
            "mode": "hand_over",
            "step": Step(number=1, count=3, workers=1, hold_left=41.2),
            "who": "ann",
            "why": "better answers",
            "gate": Gate(decision="wait", reason="12 of 50 requests", opened=None, figures=()),
        }
    )
    lines = [line.strip() for line in shown(rollout_table(canary))]
    assert lines[0] == "tide: canary, step 1 of 4, 0 of 0 workers"
    observed = shown(rollout_table(canary.model_copy(update={"policy": "rolling"})))
    assert observed[0].strip() == "tide: rolling, step 1 of 4, 0 of 0 workers"
    assert lines[-4] == "requests that run: hand over"
    assert lines[-3:] == ["holds for 41 s", "gate: wait, 12 of 50 requests", "started by ann: better answers"]
    paused = canary.model_copy(update={"paused_by": "bob: lunch"})
    assert "step 1 of 4, paused by bob: lunch, 0 of 0" in shown(rollout_table(paused))[0]


def test_a_change_over_says_which_version_requests_start_on() -> None:
    before = ROLLING.model_copy(update={"policy": "all_at_once", "admitted": ROLLING.previous})
    assert "not changed over yet" in shown(rollout_table(before))[0]
    after = before.model_copy(update={"admitted": ROLLING.version})
    assert "requests start on the new version" in shown(rollout_table(after))[0]


def test_the_history_shows_who_and_why() -> None:
    event = RolloutEvent(
        pool="tide",
        at=0,
        event="step_reached",
        rollout="r1",
        version="1" * 64,
        previous="",
        policy="canary",
        step=2,
        who="",
        why="",
        mode="hand_over",
    )
    paused = event.model_copy(update={"event": "paused", "who": "bob", "why": "lunch", "mode": ""})
    written = " ".join(" ".join(shown(history_table([event, paused]), 160)).split())
    assert f"reached canary 2 hand over {'1' * 12} - -" in written
    assert f"paused canary 2 - {'1' * 12} - bob lunch" in written


class Gateway:
    """What it answers to one question."""

    def get(self, path: str, params: dict[str, object]) -> object:
        assert (path, params) == ("admin/rollouts", {"pool": None, "limit": 2})
        row = {"object": "rollout.event", "pool": "tide", "rollout": "r1", "version": "v", "previous_version": "u"}
        row |= {"event": "paused", "policy": "canary", "who": "ann", "why": ""}
        return {"data": [row | {"at": 2.0, "step": 1, "revision": 9}, row | {"at": 1.0, "step": 1, "revision": 8}]}


def test_the_history_of_the_database_is_shown_oldest_first() -> None:
    events = rollouts.kept_history(Gateway(), None, 2)  # type: ignore[arg-type]  # it asks for nothing else
    assert [(event.at, event.pool, event.previous) for event in events] == [(1.0, "tide", "u"), (2.0, "tide", "u")]
