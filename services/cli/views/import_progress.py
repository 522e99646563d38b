"""Shows the import of a model: a spinner while the source is prepared, then a bar for the upload."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from trainer.sources.source import Source


class ImportProgress:
    """Shows progress while the `with` block runs."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, TransferSpeedColumn(), console=console)

    def __enter__(self) -> "ImportProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def preparing(self, source: "Source") -> None:
        """The source is being read and converted."""
        self._task = self._progress.add_task(f"preparing {source.name}", total=None)

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """The upload begins. Returns a function that takes the number of bytes uploaded since its last call."""
        self._progress.update(self._task, description="publishing", total=total_bytes)
        return lambda moved: self._progress.advance(self._task, moved)
