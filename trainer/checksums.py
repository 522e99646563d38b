"""Folders that are known to be whole: a seal, written last, holds the digest of every file in them.

What a kill leaves half-written has no seal, and what somebody changed afterwards no longer matches it.
"""

import json
import shutil
from pathlib import Path

from trainer.publish import file_of

SEAL = "seal.json"
# A pickle of the library's settings that nothing here ever reads.
_LITTER = ("training_args.bin",)


class BrokenSeal(Exception):
    """The folder was sealed and has been changed since; the message names the file."""


def seal(folder: Path) -> None:
    """Writes the SHA-256 of every file in the folder. From now on a change is noticed."""
    for name in _LITTER:
        (folder / name).unlink(missing_ok=True)
    draft = folder / f"{SEAL}.new"
    draft.write_text(json.dumps(_digests(folder), indent=2))
    draft.replace(folder / SEAL)


def is_sealed(folder: Path) -> bool:
    """Raises BrokenSeal."""
    if not (folder / SEAL).is_file():
        return False
    wanted, found = json.loads((folder / SEAL).read_bytes()), _digests(folder)
    if changed := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise BrokenSeal(
            f"{folder.name} was changed after it was saved: {', '.join(changed)}. Remove the folder to go on"
        )
    return True


def latest(checkpoints: Path) -> tuple[int, Path] | None:
    """Step and folder of the last whole checkpoint; removes those that were never finished. Raises BrokenSeal."""
    found = sorted((int(path.name.rpartition("-")[2]), path) for path in checkpoints.glob("checkpoint-*"))
    while found:
        step, folder = found.pop()
        if is_sealed(folder):
            return step, folder
        shutil.rmtree(folder)
    return None


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith(SEAL))
    return {path.name: file_of(path).sha256 for path in files}
