"""What the commands of all scenarios share: the options, a folder for the cluster, and output line by line."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType


def parser(prog: str, description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every scenario has: `--seed` and `--keep`."""
    made = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    made.add_argument("--seed", type=int, default=1, help="of requests, targets and pauses (default: 1)")
    made.add_argument("--keep", action="store_true", help="keep the cluster's folder, with its logs")
    return made


@contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """A temporary folder. SIGTERM ends the program in good order, so the cluster in the folder is stopped too."""
    signal.signal(signal.SIGTERM, _exit)
    made = Path(tempfile.mkdtemp(prefix="drill-"))
    try:
        yield made
    finally:
        if keep:
            print_line(f"logs are in {made / '.tidegate/logs'}")
        else:
            shutil.rmtree(made)


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def print_line(text: object) -> None:
    """Prints at once, so that a pipe shows the line before the drill ends."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
