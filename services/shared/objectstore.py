"""The S3 object store, through the few plain calls that every S3 server has."""

import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import MemoryStore, S3Store
from pydantic import Field

from services.shared.settings import Settings

CHUNK_BYTES = 4 * 1024 * 1024

Progress = Callable[[int], None]
"""Told the number of bytes that have just moved."""


class StoreSettings(Settings):
    s3_endpoint: str = Field(description="URL of the S3 server, such as http://127.0.0.1:8333")
    s3_bucket: str = "tidegate"
    s3_access_key: str = Field(description="access key of the S3 server")
    s3_secret_key: str = Field(description="secret key of the S3 server")
    s3_region: str = "us-east-1"


class StoreError(Exception):
    """The store could not be reached or refused."""


class Missing(StoreError):
    """No object has that name."""


class Conflict(StoreError):
    """Somebody else wrote first."""


class ObjectStore:
    """One bucket. Names are paths with '/' between the parts. Every call raises StoreError when the store is unwell."""

    def __init__(self, store: S3Store | MemoryStore) -> None:
        self._store = store

    async def get(self, name: str) -> tuple[bytes, str]:
        """Content and ETag. Raises Missing."""
        try:
            result = await obstore.get_async(self._store, name)
            return bytes(await result.bytes_async()), result.meta["e_tag"] or ""
        except (BaseError, FileNotFoundError) as error:
            raise _named(error, name) from error

    async def put_new(self, name: str, content: bytes) -> None:
        """Raises Conflict when the name exists."""
        try:
            await obstore.put_async(self._store, name, content, mode="create", use_multipart=False)
        except BaseError as error:
            raise _named(error, name) from error

    async def put_if(self, name: str, content: bytes, etag: str) -> None:
        """Replaces the object that has this ETag. Raises Conflict when it has another."""
        try:
            await obstore.put_async(self._store, name, content, mode={"e_tag": etag}, use_multipart=False)
        except BaseError as error:
            raise _named(error, name) from error

    async def upload(self, name: str, file: Path, progress: Progress) -> None:
        try:
            await obstore.put_async(self._store, name, _read(file, progress), chunk_size=2 * CHUNK_BYTES)
        except BaseError as error:
            raise _named(error, name) from error

    async def download(self, name: str, file: Path, progress: Progress) -> str:
        """Writes the object to `file`; returns its SHA-256 in hex. Raises Missing."""
        digest = hashlib.sha256()
        try:
            result = await obstore.get_async(self._store, name)
            with file.open("wb") as out:
                async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                    out.write(chunk)
                    digest.update(chunk)
                    progress(len(chunk))
        except (BaseError, FileNotFoundError) as error:
            raise _named(error, name) from error
        return digest.hexdigest()

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Names of the objects under `prefix`."""
        try:
            async for page in obstore.list(self._store, prefix):
                for item in page:
                    yield item["path"]
        except BaseError as error:
            raise _named(error, prefix) from error


def connect(settings: StoreSettings) -> ObjectStore:
    return ObjectStore(
        S3Store(
            settings.s3_bucket,
            endpoint=settings.s3_endpoint,
            access_key_id=settings.s3_access_key,
            secret_access_key=settings.s3_secret_key,
            region=settings.s3_region,
            virtual_hosted_style_request=False,
            client_options={"allow_http": settings.s3_endpoint.startswith("http://"), "timeout": "300s"},
            retry_config={"max_retries": 4},
        )
    )


async def _read(file: Path, progress: Progress) -> AsyncIterator[bytes]:
    with file.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            yield chunk
            progress(len(chunk))


def _named(error: Exception, name: str) -> StoreError:
    if isinstance(error, (NotFoundError, FileNotFoundError)):
        return Missing(name)
    if isinstance(error, (AlreadyExistsError, PreconditionError)):
        return Conflict(name)
    # What follows the first line is the library's own state, for its developers.
    return StoreError(f"{name}: {str(error).partition(chr(10))[0]}")
