"""The folders that jobs are made in: what an ended job leaves is little, and only the latest ones stay at all."""

import shutil
from collections.abc import Callable
from pathlib import Path

# Only needed while a run lasts; the curve, its plot and an adapter stay.
SCAFFOLD = ("checkpoints", "merged")


def sweep(work: Path, kept: int, has_ended: Callable[[str], bool]) -> None:
    """Jobs that another trainer took up and ended count too. What cannot be removed is left for the next time."""
    found = sorted(work.glob("job-*"), key=lambda folder: folder.stat().st_mtime, reverse=True)
    ended = [folder for folder in found if has_ended(folder.name)]
    for folder in ended[kept:]:
        shutil.rmtree(folder, ignore_errors=True)
    for folder in ended[:kept]:
        for name in SCAFFOLD:
            shutil.rmtree(folder / "run" / name, ignore_errors=True)
