"""Data in a bucket: brought to this machine once, and then read as any folder.

A run that is resumed reads what it has: the bucket may change, and the run must not.
"""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from services.shared.objectstore import Missing, ObjectStore, StoreError
from trainer.data.content import MAX_BYTES, Budget
from trainer.data.folder import ENDINGS, MAX_FILES, is_data
from trainer.data.wrong import WrongData
from trainer.sources.s3 import S3Prefix
from trainer.sources.source import WrongSource

ADDRESS = "address"
"""The file that is written last. It holds where the data came from."""


async def fetch(address: str, folder: Path, environ: Mapping[str, str] = os.environ, *, limit: int = MAX_BYTES) -> Path:
    """Downloads what lies below `s3://bucket/prefix`, or one object, with the credentials of the AWS_* variables.

    Args:
        address: The object, if its name ends as data does, or the prefix.
        folder: Where to put it. What it has of the same address is used again.
        environ: Holds the AWS_* variables.
        limit: Most bytes that are downloaded.

    Returns:
        The file or folder to read.

    Raises:
        WrongData: The address is wrong, there is no data, it is too large, or the bucket cannot be read.
    """
    try:
        return await fetch_from(S3Prefix.parse(address, environ), address, folder, limit)
    except WrongSource as error:
        raise WrongData(str(error)) from None


async def fetch_from(place: S3Prefix, address: str, folder: Path, limit: int = MAX_BYTES) -> Path:
    """As `fetch`, from an address that was parsed. Raises WrongData."""
    files = folder / "files"
    is_one = is_data(place.last_name)
    start = place.prefix if is_one or not place.prefix else f"{place.prefix}/"
    read = files / place.last_name if is_one else files
    if _is_complete(folder, address):
        return read
    try:
        names = [start] if is_one else await _names(place.store, start, address)
        budget = Budget(limit)
        for name in names:
            to = place.last_name if is_one else name.removeprefix(start)
            await _download(place.store, name, files / _safe(to, address), budget)
    except Missing as error:
        raise WrongData(f"{address}: there is no object {error}") from None
    except StoreError as error:
        raise WrongData(f"{address}: the bucket cannot be read: {error}. See the AWS_* variables") from None
    (folder / ADDRESS).write_text(address)
    return read


def _is_complete(folder: Path, address: str) -> bool:
    file = folder / ADDRESS
    return file.exists() and file.read_text() == address


async def _names(store: ObjectStore, start: str, address: str) -> list[str]:
    found: list[str] = []
    async for entry in store.entries(start):
        if is_data(PurePosixPath(entry.name).name):
            found.append(entry.name)
        if len(found) > MAX_FILES:
            raise WrongData(f"{address}: there are more than {MAX_FILES} objects: join some of them")
    if not found:
        raise WrongData(f"{address}: no object there ends in {', '.join(ENDINGS)}")
    return found


async def _download(store: ObjectStore, name: str, file: Path, budget: Budget) -> None:
    """The file gets its name when it is whole."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".part-{file.name}")
    await store.download(name, part, lambda count: budget.spend(count, name))
    part.replace(file)


def _safe(name: str, address: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise WrongData(f"{address}: the object name {name!r} leads out of its folder: rename it")
    return path
