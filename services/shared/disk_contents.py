"""What the verified versions in a folder hold: a file with the same content is taken from there, not fetched again."""

import errno
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from services.shared.manifests import MANIFEST, File

# The file systems differ, links are not allowed, or a file has as many as it can have.
_NO_LINK = {errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS}


def contents(folder: Path, *, but: str) -> Mapping[str, Path]:
    """The files of all versions in a folder, by their SHA-256.

    Args:
        folder: Has a folder for each version, with its manifest.
        but: A version that is left out.
    """
    found: dict[str, Path] = {}
    for manifest in folder.glob(f"*/{MANIFEST}"):
        if manifest.parent.name.startswith(".") or manifest.parent.name == but:
            continue
        for name, sha256 in _files(manifest):
            found[sha256] = manifest.parent / name
    return found


def take(source: Path, target: Path, file: File) -> bool:
    """Makes `target` the same file as `source`, or a copy where links are not possible.

    Returns:
        False: The source is not there any more, or is not as large as it should be.

    Raises:
        OSError: The disk failed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        if source.stat().st_size != file.size:
            return False
        try:
            os.link(source, target)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            shutil.copyfile(source, target)
    except FileNotFoundError:
        return False
    return True


def _files(manifest: Path) -> list[tuple[str, str]]:
    """Names and digests. A manifest that cannot be read has none: another process is just removing it."""
    try:
        return [(file["name"], file["sha256"]) for file in json.loads(manifest.read_bytes())["files"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
