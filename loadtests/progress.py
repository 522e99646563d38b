"""Shows the progress of a run: a bar with figures on a terminal, else a line every few seconds."""

import asyncio

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from loadtests.runner import Stopwatch, Tally

REFRESH_S = 0.25
LINE_S = 10.0


async def show(console: Console, name: str, duration_s: float, tally: Tally, watch: Stopwatch) -> None:
    """Shows the progress until it is cancelled."""
    if console.is_terminal:
        await _bar(console, name, duration_s, tally, watch)
    else:
        await _lines(console, tally, watch)


async def _bar(console: Console, name: str, duration_s: float, tally: Tally, watch: Stopwatch) -> None:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[figures]}"),
    )
    with Progress(*columns, console=console, auto_refresh=False) as progress:
        task = progress.add_task(name, total=duration_s, figures="")
        rate = _Rate()
        while True:
            now_s = watch.now_s()
            shown = f"{figures(tally)}  {rate.of(tally.tokens, now_s):,.0f} tok/s"
            progress.update(task, completed=min(now_s, duration_s), figures=shown, refresh=True)
            await asyncio.sleep(REFRESH_S)


async def _lines(console: Console, tally: Tally, watch: Stopwatch) -> None:
    while True:
        await asyncio.sleep(LINE_S)
        console.print(f"{watch.now_s():6.0f} s  {figures(tally)}", markup=False)


def figures(tally: Tally) -> str:
    """The counts in words."""
    parts = [f"{tally.ok} ok", f"{tally.in_flight} in flight"]
    named = (("refused", tally.refused), ("failed", tally.failed), ("not sent", tally.not_sent))
    return ", ".join([*parts, *(f"{count} {name}" for name, count in named if count)])


class _Rate:
    """Tokens per second over the last few seconds. Answers are counted when they end."""

    WINDOW_S = 5.0

    def __init__(self) -> None:
        self._marks: list[tuple[float, int]] = []

    def of(self, tokens: int, now_s: float) -> float:
        self._marks = [(at, count) for at, count in self._marks if now_s - at <= self.WINDOW_S]
        self._marks.append((now_s, tokens))
        then_s, before = self._marks[0]
        return (tokens - before) / (now_s - then_s) if now_s > then_s else 0.0
