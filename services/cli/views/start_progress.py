"""Shows the start of a cluster: spinners on a terminal, plain lines elsewhere."""

import time
from typing import Protocol

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from services.local.events import Event


class Display(Protocol):
    """Shows the events of a start."""

    def show(self, event: Event) -> None:
        """Shows one event."""

    def close(self) -> None:
        """Ends the display."""


def display(console: Console) -> Display:
    """The display that fits the console."""
    return Spinners(console) if console.is_terminal else Lines(console)


class Lines:
    """A line for each finished step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began: dict[str, float] = {}

    def show(self, event: Event) -> None:
        """Shows one event."""
        if event.kind == "begun":
            self._began[event.subject] = time.monotonic()
        elif event.kind == "done":
            took = time.monotonic() - self._began.pop(event.subject, time.monotonic())
            self._console.print(f"ok  {event.subject}  {event.detail}  ({took:.1f} s)", markup=False)
        elif line := _plain(event):
            self._console.print(line, markup=False)

    def close(self) -> None:
        """Does nothing: lines need no end."""


class Spinners:
    """A line for each step, with a spinner that becomes a tick when the step is done."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓"),
            TextColumn("{task.description}"),
            TextColumn("[dim]{task.fields[detail]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}

    def show(self, event: Event) -> None:
        """Shows one event."""
        if event.kind == "begun":
            self._progress.start()
            self._tasks[event.subject] = self._progress.add_task(event.subject, total=1, detail="")
        elif event.kind == "done":
            self._progress.update(self._tasks[event.subject], completed=1, detail=event.detail)
        elif event.kind in ("ready", "failed", "stopping"):
            self._progress.stop()
        if line := _plain(event):
            self._progress.console.print(line, markup=False)

    def close(self) -> None:
        """Stops the spinners."""
        self._progress.stop()


def _plain(event: Event) -> str:
    match event.kind:
        case "note":
            return event.detail
        case "stopping":
            return "stopping"
        case "stopped":
            return "stopped"
        case _:
            return ""
