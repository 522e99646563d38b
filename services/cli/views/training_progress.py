"""Shows a training run: a line for each phase, and a bar for its steps or bytes."""

from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows progress while the `with` block runs."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figure]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task = self._progress.add_task("starting", total=None, figure="")

    def __enter__(self) -> "TrainingProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        """A new phase begins."""
        self._progress.reset(self._task, total=None, description=name, figure="")
        self._progress.console.print(name, style="dim")

    def note(self, text: str) -> None:
        """What people should know about the run."""
        self._progress.console.print(f"note: {text}", style="yellow", markup=False)

    def step(self, done: int, total: int, loss: float) -> None:
        """`done` of `total` training steps are done; `loss` is the loss of the last one."""
        self._progress.update(self._task, completed=done, total=total, figure=f"{done}/{total}  loss {loss:.3f}")

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """The upload begins. Returns a function that takes the number of bytes uploaded since its last call."""
        self._progress.update(self._task, total=total_bytes)
        return lambda moved: self._progress.advance(self._task, moved)
