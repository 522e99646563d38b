"""Shards in a bucket: brought to this machine once, each file verified as it comes."""

import os
from collections.abc import Mapping
from pathlib import Path

from services.shared.objectstore import Missing, ObjectStore, StoreError
from trainer.data.shard_manifest import (
    INDEX_SUFFIX,
    MANIFEST,
    TOKENIZER,
    ShardManifest,
    digest_of_file,
    parse_manifest,
    write_manifest,
)
from trainer.data.wrong import WrongData
from trainer.selection import is_tokenizer_file
from trainer.sources.s3 import S3Prefix
from trainer.sources.source import WrongSource

_FILES = "shards"
_MAX_TOKENIZER_FILES = 100


async def fetch(address: str, folder: Path, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Downloads the shards below `s3://bucket/prefix`, with the credentials of the AWS_* variables.

    A file that is here already, from a call that was stopped, is not fetched again.

    Args:
        address: The prefix.
        folder: Where to put them. A run keeps what it has: the bucket may change, and the run must not.
        environ: Holds the AWS_* variables.

    Returns:
        The folder of the shards, or None where no shards lie there.

    Raises:
        WrongData: The address is wrong, the bucket cannot be read, or a file is not what shards.json says.
    """
    try:
        place = S3Prefix.parse(address, environ)
        return await fetch_from(place, folder)
    except WrongSource as error:
        raise WrongData(str(error)) from None


async def fetch_from(place: S3Prefix, folder: Path) -> Path | None:
    """As `fetch`, from an address that was parsed. Raises WrongData."""
    files = folder / _FILES
    if (files / MANIFEST).is_file():
        return files
    start = f"{place.prefix}/" if place.prefix else ""
    try:
        content, _ = await place.store.get(f"{start}{MANIFEST}")
    except Missing:
        return None
    except StoreError as error:
        raise _unreadable(place, error) from None
    manifest = parse_manifest(content, f"s3://{place.bucket}/{start}{MANIFEST}")
    files.mkdir(parents=True, exist_ok=True)
    try:
        await _download_all(place.store, start, files, manifest)
    except Missing as error:
        raise WrongData(f"{place.prefix}: shards.json names an object that is not there: {error}") from None
    except StoreError as error:
        raise _unreadable(place, error) from None
    write_manifest(files, manifest)  # last: a folder with it is whole
    return files


async def _download_all(store: ObjectStore, start: str, files: Path, manifest: ShardManifest) -> None:
    await _download_tokenizer(store, start, files)
    for source in manifest.sources:
        for file in source.files:
            await _download(store, start, files, file.name, file.sha256)
            await _download(store, start, files, f"{file.name}{INDEX_SUFFIX}", file.index_sha256)


async def _download_tokenizer(store: ObjectStore, start: str, files: Path) -> None:
    """Only files of tokenizers are taken. open_shards compares their digest."""
    count, first = 0, f"{start}{TOKENIZER}/"
    async for entry in store.entries(first):
        name = entry.name.removeprefix(first)
        if not is_tokenizer_file(name):
            raise WrongData(f"{TOKENIZER}/{name}: it is no file of a tokenizer: take it out of the bucket")
        if (count := count + 1) > _MAX_TOKENIZER_FILES:
            raise WrongData(f"{TOKENIZER} holds more than {_MAX_TOKENIZER_FILES} objects")
        file = files / TOKENIZER / name
        file.parent.mkdir(parents=True, exist_ok=True)
        await store.download(entry.name, file, lambda _: None)


async def _download(store: ObjectStore, start: str, files: Path, name: str, sha256: str) -> None:
    file = files / name
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_file() and digest_of_file(file) == sha256:
        return
    if await store.download(f"{start}{name}", file, lambda _: None) != sha256:
        raise WrongData(f"{name}: the object is not what shards.json says: copy or prepare the shards again")


def _unreadable(place: S3Prefix, error: StoreError) -> WrongData:
    return WrongData(f"s3://{place.bucket}/{place.prefix}: the bucket cannot be read: {error}. See the AWS_* variables")
