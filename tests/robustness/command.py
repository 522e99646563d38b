"""What the commands of all scenarios have in common: seed, a folder for the cluster, a line for each verdict."""

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
    made = argparse.ArgumentParser(prog=f"python -m {prog}", description=description)
    made.add_argument("--seed", type=int, default=1)
    made.add_argument("--keep", action="store_true", help="leave the cluster's folder, logs and all")
    return made


@contextmanager
def folder(*, keep: bool) -> Iterator[Path]:
    """A drill that is told to end (SIGTERM) takes its cluster with it."""
    signal.signal(signal.SIGTERM, _leave)
    made = Path(tempfile.mkdtemp(prefix="drill-"))
    try:
        yield made
    finally:
        if keep:
            say(f"logs are in {made / '.tidegate/logs'}")
        else:
            shutil.rmtree(made)


def _leave(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)


def say(text: object) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
