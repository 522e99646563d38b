"""Whoever waits for a rollout hears of that one, and of no other."""

from collections.abc import Sequence

import pytest
from rich.console import Console

from services.cli import rollout_watch
from services.cli.control_client import NoRouter
from services.cli.errors import CommandFailed
from services.cli.rollout_watch import Rollout, follow

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


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Rollout | NoRouter]:
    """What the routers will say, in order."""
    waiting: list[Rollout | NoRouter] = []

    async def last(routers: Sequence[str], pool: str) -> Rollout:
        answer = waiting.pop(0)
        if isinstance(answer, NoRouter):
            raise answer
        return answer

    monkeypatch.setattr(rollout_watch, "last", last)
    monkeypatch.setattr(rollout_watch, "EVERY_S", 0)
    return waiting


async def test_it_ends_with_the_rollout_and_routers_may_be_away_for_a_while(answers: list[Rollout | NoRouter]) -> None:
    answers += [ROLLING, NoRouter("away"), DONE]
    assert await follow(("a:1",), ROLLING, Console(quiet=True)) == DONE
    assert not answers


async def test_another_rollout_of_the_pool_is_not_taken_for_it(answers: list[Rollout | NoRouter]) -> None:
    answers += [DONE.model_copy(update={"id": "r2", "version": "2" * 64})]
    with pytest.raises(CommandFailed, match="another rollout by now, to 2222"):
        await follow(("a:1",), ROLLING, Console(quiet=True))
