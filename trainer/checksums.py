"""Folders that are known to be whole: a seal, written last, holds the digest of every file in them.

What a kill leaves half-written has no seal, and what somebody changed afterwards no longer matches it.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from trainer.publish import file_of

SEAL = "seal.json"
# A pickle of the library's settings that nothing here ever reads.
_LITTER = ("training_args.bin",)


class BrokenSeal(Exception):
    """The folder was sealed and has been changed since; the message names the file."""


def seal(folder: Path) -> None:
    """Writes the size and SHA-256 of every file in the folder. From now on a change is noticed.

    All of it is on the disk before the seal is: a machine that loses power leaves no sealed folder with torn files.
    """
    for name in _LITTER:
        (folder / name).unlink(missing_ok=True)
    draft = folder / f"{SEAL}.new"
    draft.write_text(json.dumps(_found(folder), indent=2))
    for path in (*_files(folder), draft, folder):
        _flush(path)
    draft.replace(folder / SEAL)
    _flush(folder)


def is_sealed(folder: Path) -> bool:
    """Raises BrokenSeal."""
    if not (folder / SEAL).is_file():
        return False
    wanted, found = _wanted(folder), {name: entry["sha256"] for name, entry in _found(folder).items()}
    digests = {name: entry["sha256"] for name, entry in wanted.items()}
    if changed := sorted(name for name in digests.keys() | found.keys() if digests.get(name) != found.get(name)):
        raise BrokenSeal(
            f"{folder.name} was changed after it was saved: {', '.join(changed)}. Remove the folder to go on"
        )
    return True


def latest(checkpoints: Path) -> tuple[int, Path] | None:
    """Step and folder of the last whole checkpoint; removes those that are torn.

    A checkpoint is torn when it was never sealed, or when a file of it is missing or shorter than it was: a disk that
    was full or lost, or a copy that ended too early, leaves that. Other content does not come about by itself.

    Raises:
        BrokenSeal: A file has another content.
    """
    found = sorted((int(path.name.rpartition("-")[2]), path) for path in checkpoints.glob("checkpoint-*"))
    while found:
        step, folder = found.pop()
        if not _is_torn(folder) and is_sealed(folder):
            return step, folder
        shutil.rmtree(folder)
    return None


def _is_torn(folder: Path) -> bool:
    if not (folder / SEAL).is_file():
        return True
    return any(
        not (folder / name).is_file() or (folder / name).stat().st_size < entry["size"]
        for name, entry in _wanted(folder).items()
    )


def _wanted(folder: Path) -> dict[str, dict[str, Any]]:
    """What the seal says of each file. Seals of older releases have no sizes."""
    entries = json.loads((folder / SEAL).read_bytes()).items()
    return {name: {"sha256": entry, "size": 0} if isinstance(entry, str) else entry for name, entry in entries}


def _found(folder: Path) -> dict[str, dict[str, Any]]:
    described = {str(path.relative_to(folder)): file_of(path) for path in _files(folder)}
    return {name: {"sha256": file.sha256, "size": file.size} for name, file in described.items()}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(SEAL))


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
