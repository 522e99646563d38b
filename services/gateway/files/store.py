"""Files of tenants in the object store. The record of a file is written last, so a file is complete or not there."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

from services.gateway.files.file import File, Purpose, is_id, mint_id
from services.shared.clock import Clock
from services.shared.errors import NotFound, RateLimited
from services.shared.objectstore import Missing, ObjectStore

RandomBits = Callable[[int], int]

ROOT = "_gateway/files"
MAX_FILES = 1000
"""Most files of one tenant."""


class FileStore:
    """Stores files; a tenant sees only its own. Every method raises StoreError if the object store is away."""

    def __init__(self, store: ObjectStore, clock: Clock, random_bits: RandomBits) -> None:
        self._store, self._clock, self._random_bits = store, clock, random_bits

    async def save(self, tenant: str, filename: str, purpose: Purpose, content: Path, size: int) -> File:
        """Stores a file.

        Args:
            tenant: owns the file.
            filename: its name, for people.
            purpose: what it is for.
            content: a file on this machine.
            size: its bytes.
        """
        now = self._clock.wall()
        file = File(
            id=mint_id(now, self._random_bits(80)), filename=filename, purpose=purpose, bytes=size, created=int(now)
        )
        await self._store.upload(_content(tenant, file.id), content, lambda _: None)
        await self._store.put_new(_known(tenant, file.id), file.model_dump_json().encode())
        return file

    async def check_room(self, tenant: str) -> None:
        """Checks that the tenant may upload one more file.

        Raises:
            RateLimited: it has as many as it may.
        """
        if len([name async for name in self._names(tenant)]) >= MAX_FILES:
            raise RateLimited(f"There are {MAX_FILES} files already; delete some first.", code="too_many_files")

    async def get(self, tenant: str, file_id: str) -> File:
        """Returns the record of a file.

        Raises:
            NotFound: the tenant has no such file.
        """
        if not is_id(file_id):
            raise _unknown(file_id)
        try:
            return File.model_validate_json((await self._store.get(_known(tenant, file_id)))[0])
        except Missing:
            raise _unknown(file_id) from None

    async def content(self, tenant: str, file_id: str) -> AsyncIterator[bytes]:
        """Returns the content of a file, piece by piece.

        Raises:
            NotFound: the tenant has no such file.
        """
        await self.get(tenant, file_id)
        return self._store.stream(_content(tenant, file_id))

    async def list(self, tenant: str, *, after: str | None, limit: int, newest_first: bool) -> tuple[list[File], bool]:
        """Returns a page of files, and whether there are more.

        Args:
            tenant: owns the files.
            after: id of the last file of the page before; None for the first page.
            limit: most files of a page.
            newest_first: the order; otherwise the oldest come first.
        """
        ids = sorted([name async for name in self._names(tenant)], reverse=newest_first)
        if after:
            ids = [name for name in ids if (name < after if newest_first else name > after)]
        return [await self.get(tenant, name) for name in ids[:limit]], len(ids) > limit

    async def delete(self, tenant: str, file_id: str) -> None:
        """Deletes a file.

        Raises:
            NotFound: the tenant has no such file.
        """
        await self.get(tenant, file_id)
        await self._store.delete(_known(tenant, file_id))
        await self._store.delete(_content(tenant, file_id))

    async def _names(self, tenant: str) -> AsyncIterator[str]:
        async for name in self._store.list(f"{ROOT}/{tenant}/"):
            if name.endswith(".json"):
                yield name.rpartition("/")[2].removesuffix(".json")


def _known(tenant: str, file_id: str) -> str:
    return f"{ROOT}/{tenant}/{file_id}.json"


def _content(tenant: str, file_id: str) -> str:
    return f"{ROOT}/{tenant}/{file_id}"


def _unknown(file_id: str) -> NotFound:
    shown = file_id if len(file_id) <= 64 else f"{file_id[:64]}..."
    return NotFound(f"No such file: '{shown}'.", param="file_id")
