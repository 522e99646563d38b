"""The next step of a rollout, read off its record and the workers."""

from dataclasses import replace
from typing import Any

import pytest

from services.router.core.rollout import Ending, Order, Request, Start, advance, begin, orders, start_of, stop
from services.router.core.rollout_record import Member, Outcome, RolloutRecord, State, Turn
from services.router.core.rollout_turn import Timeouts

FORTH, BACK = "ro-forth", "ro-back"
ROLLING = RolloutRecord("ro", target="new", previous="old", started_ms=0)
TURN = replace(ROLLING, turns=(Turn("a/1", 1_000),))
UNDOING = replace(ROLLING, state=State.UNDOING, reason="a: bad")
UNDOING_TURN = replace(UNDOING, turns=TURN.turns)
DONE = replace(ROLLING, state=State.DONE, ended_ms=5)
FAILED = replace(UNDOING, state=State.FAILED, ended_ms=5)
ABSENT = replace(TURN, turns=(Turn("a/1", 1_000, absent_since_ms=500),))
ENDING = replace(TURN, turns=(Turn("a/1", 1_000, replaced="a/1"),))
STARTING = replace(TURN, turns=(Turn("a/2", 1_000, replaced="a/1"),))
PATIENCE = Timeouts(turn_ms=9_000, absence_ms=500)


def a(version: str = "old", state: str = "ready", **fields: Any) -> Member:
    return replace(Member("a", 1, state, version), **fields)


def b(version: str = "old", state: str = "ready", **fields: Any) -> Member:
    return replace(a(version, state, **fields), worker_id="b")


def told(outcome: Outcome, delivery: str = FORTH, reason: str = "") -> dict[str, Any]:
    return {"delivery_id": delivery, "outcome": outcome, "reason": reason}


RESTART = told(Outcome.NEEDS_RESTART)
UNDER_WAY, COMMITTED, BAD = told(Outcome.UNDER_WAY), told(Outcome.COMMITTED), told(Outcome.FAILED, reason="bad")

STEPS = {
    "the first worker has its turn": (ROLLING, [b(), a()], TURN),
    "nobody else while one has its turn": (TURN, [a(**UNDER_WAY), b()], TURN),
    "it has not heard yet": (TURN, [a(), b()], TURN),
    "it has changed": (TURN, [a("new", **COMMITTED), b()], ROLLING),
    "then comes the next": (ROLLING, [a("new", **COMMITTED), b()], replace(TURN, turns=(Turn("b/1", 1_000),))),
    "one that is at a delivery already goes first": (
        ROLLING,
        [a(), b("old", "swapping", **told(Outcome.UNDER_WAY, "earlier-forth"))],
        replace(TURN, turns=(Turn("b/1", 1_000),)),
    ),
    "but not one that is leaving": (
        ROLLING,
        [a("new"), b("old", "draining", **UNDER_WAY)],
        replace(DONE, ended_ms=1_000),
    ),
    "given up in the middle of a turn: its worker goes back first": (
        UNDOING,
        [a("new", **COMMITTED), b("old", "swapping", **UNDER_WAY)],
        replace(UNDOING, turns=(Turn("b/1", 1_000),)),
    ),
    "one that never ends its delivery is not waited for for ever": (
        replace(UNDOING, stranded=("a/1",)),
        [a("old", "swapping", **UNDER_WAY), b()],
        replace(FAILED, stranded=("a/1",), ended_ms=1_000),
    ),
    "all have it": (ROLLING, [a("new"), b("new")], replace(DONE, ended_ms=1_000)),
    "a pool without workers has nothing to do": (ROLLING, [], replace(DONE, ended_ms=1_000)),
    "one that loads comes later": (ROLLING, [a("new"), b("", "loading")], replace(DONE, ended_ms=1_000)),
    "one whose stream broke is waited for": (ROLLING, [a("new"), b("old", "detached")], ROLLING),
    "one that drains leaves its turn": (TURN, [a("old", "draining", **UNDER_WAY), b()], ROLLING),
    "a failure is fatal": (TURN, [a(**BAD), b()], UNDOING),
    "an old failure of another rollout is not": (TURN, [a(**told(Outcome.FAILED, "earlier-forth")), b()], TURN),
    "a worker that cannot be seen may only have lost its router": (
        TURN,
        [b()],
        replace(TURN, turns=(Turn("a/1", 1_000, absent_since_ms=1_000),)),
    ),
    "it is back": (ABSENT, [a(**UNDER_WAY), b()], TURN),
    "it is back and has changed meanwhile": (ABSENT, [a("new", **COMMITTED), b()], ROLLING),
    "a worker that died of it": (ABSENT, [b()], replace(UNDOING, reason="a was lost while it changed its weights")),
    "and one that was started anew": (
        TURN,
        [a(epoch=2), b()],
        replace(UNDOING, reason="a was lost while it changed its weights"),
    ),
    "nothing to go back to": (
        replace(TURN, previous=""),
        [a(**BAD)],
        replace(FAILED, previous="", ended_ms=1_000),
    ),
    "those that changed go back": (UNDOING, [a("new", **COMMITTED), b(**BAD)], UNDOING_TURN),
    "went back": (UNDOING_TURN, [a("old", **told(Outcome.COMMITTED, BACK)), b()], UNDOING),
    "all went back": (UNDOING, [a(), b()], replace(FAILED, ended_ms=1_000)),
    "one cannot go back": (
        UNDOING_TURN,
        [a("new", **told(Outcome.FAILED, BACK, "no disk")), b()],
        replace(UNDOING, reason="a: bad; a: no disk", stranded=("a/1",)),
    ),
    "those that are gone are not remembered": (
        replace(UNDOING_TURN, stranded=("b/1", "gone/1")),
        [a("new", **told(Outcome.FAILED, BACK, "no disk")), b("new")],
        replace(UNDOING, reason="a: bad; a: no disk", stranded=("b/1", "a/1")),
    ),
    "the others matter more": (
        replace(UNDOING, stranded=("a/1",)),
        [a("new"), b()],
        replace(FAILED, stranded=("a/1",), ended_ms=1_000),
    ),
    "a late worker is brought up to date": (
        DONE,
        [a(), b("new")],
        replace(DONE, turns=TURN.turns),
    ),
    "a late worker that cannot stays as it is": (
        replace(DONE, turns=TURN.turns),
        [a(**BAD), b("new")],
        replace(DONE, stranded=("a/1",)),
    ),
    "and is not asked again": (replace(DONE, stranded=("a/1",)), [a(**BAD)], replace(DONE, stranded=("a/1",))),
    "but its next process is": (
        replace(DONE, stranded=("a/1",)),
        [a(epoch=2)],
        replace(DONE, stranded=("a/1",), turns=(Turn("a/2", 1_000),)),
    ),
    "after a failure the old version stands": (
        FAILED,
        [a("new")],
        replace(FAILED, turns=TURN.turns),
    ),
    "one that cannot change in place is replaced": (TURN, [a(**RESTART), b()], ENDING),
    "unless it leaves by itself": (TURN, [a(state="draining", **RESTART)], ROLLING),
    "it drains": (ENDING, [a(state="draining", **RESTART), b()], ENDING),
    "it has ended": (ENDING, [b()], ENDING),
    "its next process takes over the turn": (ENDING, [a("", "loading", epoch=2), b()], STARTING),
    "which loads": (STARTING, [a("", "loading", epoch=2, **UNDER_WAY), b()], STARTING),
    "and serves the version": (STARTING, [a("new", epoch=2, **COMMITTED), b()], ROLLING),
    "it cannot start": (STARTING, [a("", "loading", epoch=2, **BAD), b()], UNDOING),
    "it died as it started": (
        STARTING,
        [a("", "loading", epoch=3), b()],
        replace(UNDOING, reason="a was lost while it started on new"),
    ),
    "it is gone, but its lease may have lapsed": (
        STARTING,
        [b()],
        replace(STARTING, turns=(Turn("a/2", 1_000, 1_000, "a/1"),)),
    ),
    "replaced on the way back": (
        UNDOING_TURN,
        [a("new", **told(Outcome.NEEDS_RESTART, BACK))],
        replace(UNDOING, turns=ENDING.turns),
    ),
    "a late worker is replaced too": (
        replace(DONE, turns=TURN.turns),
        [a(**RESTART)],
        replace(DONE, turns=ENDING.turns),
    ),
    "all is well": (DONE, [a("new"), b("new")], DONE),
}


@pytest.mark.parametrize(("record", "members", "following"), STEPS.values(), ids=STEPS.keys())
def test_what_follows(record: RolloutRecord, members: list[Member], following: RolloutRecord) -> None:
    answer = advance(record, members, now_ms=1_000, timeouts=PATIENCE)
    assert (answer is record) == (following == record)
    assert answer == replace(following, revision=record.revision + (answer is not record))


def test_a_turn_has_a_limit() -> None:
    for now_ms, state in ((9_999, State.ROLLING), (10_000, State.UNDOING)):
        assert advance(TURN, [a(**UNDER_WAY)], now_ms=now_ms, timeouts=PATIENCE).state is state


def test_a_worker_that_is_replaced_has_the_limit_to_come_back_and_again_to_be_ready() -> None:
    assert advance(ENDING, [b()], now_ms=9_999, timeouts=PATIENCE) is ENDING
    undone = advance(ENDING, [b()], now_ms=10_000, timeouts=PATIENCE)
    assert (undone.state, undone.turns) == (State.UNDOING, ())
    assert undone.reason == "a was not started again within 9 s"
    late = advance(ENDING, [a("", "loading", epoch=2)], now_ms=10_000, timeouts=PATIENCE)
    assert late.turns == (Turn("a/2", 10_000, replaced="a/1"),)


@pytest.mark.parametrize(
    ("record", "epoch", "start"),
    [
        (None, 1, Start()),
        (ROLLING, 1, Start("old")),
        (TURN, 2, Start("old")),
        (ENDING, 2, Start("new", FORTH)),
        (STARTING, 2, Start("new", FORTH)),
        (STARTING, 3, Start("old")),
        (replace(STARTING, turns=(Turn("b/1", 1_000, replaced="b/1"),)), 2, Start("old")),
        (DONE, 1, Start("new")),
        (UNDOING, 1, Start("old")),
        (replace(UNDOING, turns=ENDING.turns), 2, Start("old", BACK)),
        (FAILED, 1, Start("old")),
        (replace(ROLLING, previous=""), 1, Start()),
    ],
)
def test_what_a_process_starts_on(record: RolloutRecord | None, epoch: int, start: Start) -> None:
    assert start_of(record, "a", epoch) == start


def test_a_rollout_ends_whatever_its_workers_do() -> None:
    """No worker ever says that it is done, and yet nobody waits for ever, forth or back."""
    record, now_ms = ROLLING, 0
    silent = [a("old", "swapping", **UNDER_WAY), b(), Member("c", 1, "stuck", "old"), Member("d", 1, "detached", "new")]
    while not record.state.has_ended and now_ms < 100_000:
        now_ms += 500
        gone = 3 if now_ms > 30_000 else 4  # a detached worker's lease ends
        record = advance(record, silent[:gone], now_ms=now_ms, timeouts=PATIENCE)
    assert record.state is State.FAILED
    assert record.reason.startswith("a did not change within 9 s; a did not change within 9 s")


@pytest.mark.parametrize(
    ("record", "member", "said"),
    [
        (TURN, a(), Order("a", FORTH, "new", 0)),
        (TURN, a(**told(Outcome.FAILED, "earlier-forth")), Order("a", FORTH, "new", 0)),
        (TURN, a(**UNDER_WAY), None),
        (TURN, a(**BAD), None),
        (TURN, b(), None),
        (TURN, a(epoch=2), None),
        (ROLLING, a(), None),
        (UNDOING_TURN, a("new", **COMMITTED), Order("a", BACK, "old", 0)),
        (ENDING, a(**RESTART), Ending("a", 0)),
        (ENDING, a(state="draining", **RESTART), None),
        (ENDING, a("", "loading", epoch=2), None),
        (STARTING, a("", "loading", epoch=2), None),
    ],
)
def test_what_is_said_to_the_worker_that_has_its_turn(
    record: RolloutRecord, member: Member, said: Order | Ending | None
) -> None:
    assert orders(record, [member]) == ([said] if said else [])


def test_a_rollout_goes_back_to_the_last_goal_or_to_what_most_workers_serve() -> None:
    members = [a("old"), b("other"), replace(b("old"), worker_id="c")]

    def previous(before: RolloutRecord | None) -> str:
        return begin("next", Request("newest"), members, before, now_ms=0).previous

    assert previous(None) == "old"
    assert previous(DONE) == "new"
    assert previous(FAILED) == "old"


def test_a_stopped_rollout_is_undone_and_never_twice_at_one_revision() -> None:
    stopped = stop(TURN, "enough", 7)
    assert (stopped.state, stopped.reason, stopped.turns) == (State.UNDOING, "enough", ())
    assert stopped.revision == TURN.revision + 1
    assert begin("next", Request("x"), [], DONE, now_ms=0).revision == DONE.revision + 1


def test_a_record_survives_redis() -> None:
    record = replace(UNDOING_TURN, stranded=("b/1", "c/18000000000000000000"), finish_timeout_ms=5, reason="")
    assert RolloutRecord.of_hash(record.to_hash()) == record
    assert RolloutRecord.of_hash(ROLLING.to_hash()) == ROLLING
    assert RolloutRecord.of_hash(STARTING.to_hash()) == STARTING


def test_replicas_of_this_and_of_an_earlier_release_read_each_others_records() -> None:
    """One of an earlier release knows one turn, in fields of its own, and leaves out what it does not know."""
    known = [
        "rollout_id",
        "target",
        "previous",
        "started_ms",
        "finish_timeout_ms",
        "state",
        "reason",
        "turn",
        "turn_began_ms",
    ]
    known += ["absent_since_ms", "stranded", "ended_ms", "revision", "replaced"]
    for record in (ROLLING, STARTING, ABSENT):
        earlier = {name: value for name, value in record.to_hash().items() if name in known}
        assert len(earlier) == len(known)
        assert RolloutRecord.of_hash(earlier) == record
