"""How far the workers are that stage a version: the table, the lines, and a standstill."""

from collections.abc import Callable, Sequence
from io import StringIO

import pytest
from rich.console import Console

from services.cli.clients import version_staging
from services.cli.clients.control import NoRouter
from services.cli.clients.version_staging import Staging, StagingWorker
from services.cli.errors import CommandFailed
from services.cli.views.version_staging import follow_staging, staging_table
from tests.unit.cli.terminal import shown


def staging(*phases: str) -> Staging:
    workers = tuple(
        StagingWorker(
            id=f"w{n}",
            state="ready",
            phase=phase,
            staged_bytes=1_000_000 if phase else 0,
            total_bytes=1_500_000 if phase else 0,
            reason="no room" if phase == "failed" else "",
        )
        for n, phase in enumerate(phases)
    )
    return Staging(id="s", pool="tide", version="1" * 64, workers=workers)


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Staging | NoRouter]:
    """What the routers will answer, in order; the last one again and again."""
    waiting: list[Staging | NoRouter] = []

    async def ask(routers: Sequence[str], pool: str, version: str, stage_id: str, *, speculator: bool) -> Staging:
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(answer, NoRouter):
            raise answer
        return answer

    monkeypatch.setattr(version_staging, "_ask", ask)
    monkeypatch.setattr(version_staging, "POLL_S", 0)
    return waiting


def test_the_table_has_a_row_for_each_worker() -> None:
    lines = [" ".join(line.split()) for line in shown(staging_table(staging("staged", "fetching", "failed", "")))]
    assert lines[0] == "tide: 111111111111 is staged on 1 of 4 workers"
    assert lines[2:] == [
        "w0 ready 1.0 MB of 1.5 MB staged",
        "w1 ready 1.0 MB of 1.5 MB fetching",
        "w2 ready 1.0 MB of 1.5 MB failed no room",
        "w3 ready - waits",
    ]


async def test_without_a_terminal_each_worker_that_ends_is_told_once(answers: list[Staging | NoRouter]) -> None:
    answers += [staging("staged", ""), NoRouter("away"), staging("staged", "fetching"), staging("staged", "failed")]
    output = StringIO()
    ended = await follow_staging(("a:1",), staging("", ""), Console(file=output))
    assert output.getvalue().splitlines() == ["w0: staged", "w1: failed no room"]
    with pytest.raises(CommandFailed, match="not staged on every worker\nw1: no room"):
        ended.check()


async def test_a_standstill_ends_the_command_and_names_who_is_waited_for(
    answers: list[Staging | NoRouter], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers += [staging("staged", "fetching")]
    times = iter(range(0, 10**6, 100))
    now: Callable[[], float] = lambda: next(times)  # noqa: E731 -- a clock
    monkeypatch.setattr(version_staging, "_now", now)
    with pytest.raises(CommandFailed, match=r"no progress for 600 s: w1 \(ready\)"):
        await version_staging.follow(("a:1",), staging("", ""), lambda _: None)
