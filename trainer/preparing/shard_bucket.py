"""Shards in a bucket: the same files as in a folder. shards.json comes last, so a bucket without it is not whole."""

import os
from collections.abc import Mapping
from pathlib import Path

from services.shared.objectstore import StoreError
from trainer.data.shard_manifest import MANIFEST
from trainer.data.wrong import WrongData
from trainer.sources.s3 import S3Prefix
from trainer.sources.source import WrongSource


async def upload(folder: Path, address: str, environ: Mapping[str, str] = os.environ) -> None:
    """Copies a folder of shards to `s3://bucket/prefix`, with the credentials of the AWS_* variables.

    Raises:
        WrongData: The address is wrong, or the bucket cannot be written.
    """
    try:
        await upload_to(folder, S3Prefix.parse(address, environ))
    except WrongSource as error:
        raise WrongData(str(error)) from None
    except StoreError as error:
        raise WrongData(f"{address}: the bucket cannot be written: {error}. See the AWS_* variables") from None


async def upload_to(folder: Path, place: S3Prefix) -> None:
    """As `upload`, to an address that was parsed. Raises StoreError."""
    start = f"{place.prefix}/" if place.prefix else ""
    for path in _files(folder):
        await place.store.upload(f"{start}{path.relative_to(folder).as_posix()}", path, lambda _: None)


def _files(folder: Path) -> list[Path]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / MANIFEST)
    return [*files, folder / MANIFEST]
