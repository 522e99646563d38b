"""Shows the import of a model: on a terminal a bar with bytes a second, elsewhere (in a Job's log) a line at times."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

if TYPE_CHECKING:
    from trainer.imports import Watcher

LINE_EVERY_S = 10.0


@contextmanager
def import_progress(console: Console) -> "Iterator[Watcher]":
    """Shows progress while the `with` block runs, as it fits the console."""
    if not console.is_terminal:
        yield ImportLines(console)
        return
    with ImportBar(console) as bar:
        yield bar


class ImportLines:
    """A line when something begins, and one every ten seconds while bytes move."""

    def __init__(self, console: Console, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._console, self._monotonic = console, monotonic

    def preparing(self, name: str) -> None:
        """The source is being read and converted."""
        self._print(f"preparing {name}")

    def warning(self, text: str) -> None:
        """Something that people should know; the import goes on."""
        self._print(f"warning: {text}")

    def asking(self, memory_bytes: int) -> None:
        """The model is loaded to find golden prompts, which takes this much memory."""
        self._print(f"finding golden prompts ({decimal(memory_bytes)} of memory; else --no-golden)")

    def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
        """Files are read before the upload. Returns a function that takes the bytes read since its last call."""
        return self._moving(why, total_bytes)

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        """The upload begins. Returns a function that takes the number of bytes uploaded since its last call."""
        return self._moving("publishing", total_bytes)

    def _moving(self, description: str, total_bytes: int) -> Callable[[int], None]:
        self._print(f"{description}: {decimal(total_bytes)}")
        began = said = self._monotonic()
        done = 0

        def moved(amount: int) -> None:
            nonlocal done, said
            done += amount
            now = self._monotonic()
            if now - said < LINE_EVERY_S and done < total_bytes:
                return
            said = now
            speed = decimal(int(done / max(now - began, 0.001)))
            self._print(f"{description}: {decimal(done)} of {decimal(total_bytes)}, {speed}/s")

        return moved

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


class ImportBar:
    """Shows a spinner, and then a bar, while the `with` block runs."""

    def __init__(self, console: Console) -> None:
        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, TransferSpeedColumn(), console=console)

    def __enter__(self) -> "ImportBar":
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
