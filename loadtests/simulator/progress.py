"""Shows the progress of a study: a bar on a terminal, elsewhere a line for every simulation."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from loadtests.simulator.study import Progress as Told


@contextmanager
def showing(console: Console) -> Iterator[Told]:
    """Yields what a study calls with its progress."""
    columns = (
        TextColumn("[bold]{task.description:<28}"),
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[ended]:>8} ended"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks: dict[str, TaskID] = {}

        def told(title: str, share: float, ended: int) -> None:
            if title not in tasks:
                tasks[title] = bars.add_task(title, total=1.0, ended="")
                if not console.is_terminal:
                    console.print(title, markup=False)
            bars.update(tasks[title], completed=min(share, 1.0), ended=str(ended))

        yield told
