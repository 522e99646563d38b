"""Shows the import of a model: a spinner while the source is prepared, then a bar with bytes a second."""

from collections.abc import Callable

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn


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

    def preparing(self, name: str) -> None:
        """The source is being read and converted."""
        self._task = self._progress.add_task(f"preparing {name}", total=None)

    def warning(self, text: str) -> None:
        """Something that people should know; the import goes on."""
        self._progress.console.print(f"[yellow]warning:[/] {escape(text)}")

    def asking(self, memory_bytes: int) -> None:
        """The model is loaded to find golden prompts, which takes this much memory."""
        size = decimal(memory_bytes)
        self._progress.update(self._task, description=f"finding golden prompts ({size} of memory; else --no-golden)")

    def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
        """Files are read before the upload. Returns a function that takes the bytes read since its last call."""
        return self._moving(why, total_bytes)

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """The upload begins. Returns a function that takes the number of bytes uploaded since its last call."""
        return self._moving("publishing", total_bytes)

    def _moving(self, description: str, total_bytes: int) -> Callable[[int], None]:
        self._progress.reset(self._task, description=description, total=total_bytes)
        return lambda moved: self._progress.advance(self._task, moved)
