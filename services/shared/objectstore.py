"""The S3 object store. It uses only the basic calls that every S3 server has."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError, PreconditionError
from obstore.store import MemoryStore, S3Store
from pydantic import Field
from typing_extensions import Buffer

from services.shared.settings import Settings

CHUNK_BYTES = 4 * 1024 * 1024
PIECE_BYTES = 1024 * 1024
MAX_DOCUMENT_BYTES = 16 * 1024 * 1024
"""Size of the largest object that `get` reads into memory. Manifests and aliases are far smaller."""

# S3 allows 10,000 parts of an object.
_MAX_PARTS = 9_000
_PARTS_AT_ONCE = 4

Progress = Callable[[int], None]
"""Called with the number of bytes that were transferred since the last call."""


class StoreSettings(Settings):
    """How to reach the S3 server with the model registry."""

    s3_endpoint: str = Field(description="URL of the S3 server, such as http://127.0.0.1:8333.")
    s3_bucket: str = Field("tidegate", description="Bucket for everything that Tidegate stores.")
    s3_access_key: str = Field(description="Access key of the S3 server.")
    s3_secret_key: str = Field(description="Secret key of the S3 server.")
    s3_region: str = Field("us-east-1", description="Region of the S3 server.")


class StoreError(Exception):
    """The store cannot be reached, or it refused the request."""


class Missing(StoreError):
    """There is no object with that name."""


class Conflict(StoreError):
    """Another process wrote the object first."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An object in a listing. `size` is in bytes, `written` in Unix seconds of the store's clock."""

    name: str
    size: int
    written: float


class ObjectStore:
    """One bucket. Object names are paths with '/'. Every call raises StoreError when the store fails."""

    def __init__(self, store: S3Store | MemoryStore) -> None:
        self._store = store

    async def get(self, name: str) -> tuple[bytes, str]:
        """Reads a whole object.

        Returns:
            Its content and its ETag.

        Raises:
            Missing: There is no such object.
            StoreError: It has more than MAX_DOCUMENT_BYTES.
        """
        try:
            result = await obstore.get_async(self._store, name)
            if result.meta["size"] > MAX_DOCUMENT_BYTES:
                raise StoreError(f"{name} has {result.meta['size']} bytes, more than a document may have")
            return bytes(await result.bytes_async()), result.meta["e_tag"] or ""
        except (BaseError, FileNotFoundError) as error:
            raise _named(error, name) from error

    async def put_new(self, name: str, content: bytes) -> None:
        """Writes a new object.

        Raises:
            Conflict: The object exists already.
        """
        try:
            await obstore.put_async(self._store, name, content, mode="create", use_multipart=False)
        except BaseError as error:
            raise _named(error, name) from error

    async def put_if(self, name: str, content: bytes, etag: str) -> None:
        """Replaces an object if its ETag is still `etag`.

        Raises:
            Conflict: The ETag has changed.
        """
        try:
            await obstore.put_async(self._store, name, content, mode={"e_tag": etag}, use_multipart=False)
        except BaseError as error:
            raise _named(error, name) from error

    async def upload(self, name: str, file: Path, progress: Progress) -> None:
        """Writes a file to the store, in parts."""
        try:
            await obstore.put_async(self._store, name, _read(file, progress), chunk_size=2 * CHUNK_BYTES)
        except BaseError as error:
            raise _named(error, name) from error

    async def write(self, name: str, chunks: AsyncIterator[bytes], size: int) -> None:
        """Writes a stream of about `size` bytes to the store, in parts. An error in the stream leaves no object."""
        part = max(2 * CHUNK_BYTES, -(-size // _MAX_PARTS))
        try:
            await obstore.put_async(self._store, name, chunks, chunk_size=part, max_concurrency=_PARTS_AT_ONCE)
        except BaseError as error:
            raise _named(error, name) from error

    async def download(self, name: str, file: Path, progress: Progress) -> str:
        """Writes an object to a file.

        Returns:
            SHA-256 of the content, in hex.

        Raises:
            Missing: There is no such object.
        """
        digest = hashlib.sha256()
        try:
            result = await obstore.get_async(self._store, name)
            with file.open("wb") as out:
                async for chunk in result.stream(min_chunk_size=CHUNK_BYTES):
                    # In a thread, because a process that serves streams meanwhile must not block them.
                    await asyncio.to_thread(_write_chunk, chunk, out, digest)
                    progress(len(chunk))
        except (BaseError, FileNotFoundError) as error:
            raise _named(error, name) from error
        return digest.hexdigest()

    async def open_range(self, name: str, begin: int, end: int) -> tuple[int, AsyncIterator[Buffer]]:
        """A part of an object.

        Args:
            name: The object.
            begin: Its first byte.
            end: The byte after its last one.

        Returns:
            The size of the whole object, and the part in pieces of about 1 MiB. Reading them raises StoreError.

        Raises:
            Missing: There is no such object.
        """
        # A server answers no range of an object that is empty.
        try:
            result = await obstore.get_async(self._store, name, options={"range": (begin, end)} if end > begin else {})
            return result.meta["size"], _pieces(result.stream(min_chunk_size=PIECE_BYTES), name)
        except (BaseError, FileNotFoundError) as error:
            raise _named(error, name) from error

    async def stream(self, name: str) -> AsyncIterator[bytes]:
        """The content of an object in pieces of about 1 MiB.

        Raises:
            Missing: There is no such object.
        """
        try:
            result = await obstore.get_async(self._store, name)
            async for chunk in result.stream(min_chunk_size=PIECE_BYTES):
                yield bytes(chunk)
        except (BaseError, FileNotFoundError) as error:
            raise _named(error, name) from error

    async def list(self, prefix: str) -> AsyncIterator[str]:
        """Names of the objects under `prefix`."""
        async for entry in self.entries(prefix):
            yield entry.name

    async def entries(self, prefix: str) -> AsyncIterator[Entry]:
        """The objects under `prefix`."""
        try:
            async for page in obstore.list(self._store, prefix):
                for item in page:
                    yield Entry(item["path"], item["size"], item["last_modified"].timestamp())
        except BaseError as error:
            raise _named(error, prefix) from error

    async def folders(self) -> tuple[str, ...]:
        """Names of the folders at the top, without what is in them."""
        try:
            listed = await obstore.list_with_delimiter_async(self._store)
        except BaseError as error:
            raise _named(error, "") from error
        return tuple(sorted(folder.rstrip("/") for folder in listed["common_prefixes"]))

    async def delete(self, name: str) -> None:
        """Deletes an object. It is no error if it does not exist."""
        try:
            await obstore.delete_async(self._store, name)
        except (NotFoundError, FileNotFoundError):
            pass
        except BaseError as error:
            raise _named(error, name) from error


def connect(settings: StoreSettings) -> ObjectStore:
    """The bucket that the settings name. No request is sent yet."""
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


def connect_by_environment(bucket: str, environ: Mapping[str, str]) -> ObjectStore:
    """A bucket with the endpoint and the credentials of the AWS_* variables. No request is sent yet.

    Raises:
        StoreError: A variable is wrong.
    """
    endpoints = [environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")]
    is_plain = any(endpoint.startswith("http://") for endpoint in endpoints)
    try:
        # The library reads the variables itself.
        return ObjectStore(
            S3Store(
                bucket,
                client_options={"allow_http": is_plain, "timeout": "300s"},
                retry_config={"max_retries": 4},
            )
        )
    except BaseError as error:
        raise _named(error, bucket) from error


async def _pieces(stream: AsyncIterator[Buffer], name: str) -> AsyncIterator[Buffer]:
    try:
        async for piece in stream:
            yield piece
    except BaseError as error:
        raise _named(error, name) from error


def _write_chunk(chunk: Buffer, out: BinaryIO, digest: "hashlib._Hash") -> None:
    out.write(chunk)
    digest.update(chunk)


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
    # The other lines are internal state of the library.
    return StoreError(f"{name}: {str(error).partition(chr(10))[0]}")
