"""Files of tenants in the object store. The record of a file is written last, so a file is complete or not there."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path

from services.gateway.files.file import File, Purpose, is_id, mint_id
from services.shared.clock import Clock
from services.shared.errors import NotFound, RateLimited
from services.shared.objectstore import Missing, ObjectStore

RandomBits = Callable[[int], int]

ROOT = "_gateway/files"
EXPIRIES = "_gateway/file-expiries"
"""Here, files that expire have a marker each. Its name begins with the second, so listings are in order of expiry."""
MAX_FILES = 1000
"""Most files of one tenant."""
READS = 16
"""Records that are read at the same time."""


class FileStore:
    """Stores files; a tenant sees only its own. Every method raises StoreError if the object store is away."""

    def __init__(self, store: ObjectStore, clock: Clock, random_bits: RandomBits) -> None:
        self._store, self._clock, self._random_bits = store, clock, random_bits

    async def save(
        self,
        tenant: str,
        filename: str,
        purpose: Purpose,
        content: Path,
        size: int,
        *,
        lifetime_s: int | None = None,
    ) -> File:
        """Stores a file.

        Args:
            tenant: owns the file.
            filename: its name, for people.
            purpose: what it is for.
            content: a file on this machine.
            size: its bytes.
            lifetime_s: seconds after which it expires; None if it never does.
        """
        now = self._clock.wall()
        file = File(
            id=mint_id(now, self._random_bits(80)),
            filename=filename,
            purpose=purpose,
            bytes=size,
            created=int(now),
            expires=None if lifetime_s is None else int(now) + lifetime_s,
        )
        await self._store.upload(_content(tenant, file.id), content, lambda _: None)
        if file.expires is not None:
            await self._store.put_new(_expiry(tenant, file.id, file.expires), b"")
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
            NotFound: the tenant has no such file, or it has expired.
        """
        if (file := await self._find(tenant, file_id)) is None:
            raise _unknown(file_id, "id")
        return file

    async def content(self, tenant: str, file_id: str) -> AsyncIterator[bytes]:
        """Returns the content of a file, piece by piece.

        Raises:
            NotFound: the tenant has no such file, or it has expired.
        """
        await self.get(tenant, file_id)
        return self._store.stream(_content(tenant, file_id))

    async def list(
        self, tenant: str, *, after: str | None, limit: int, newest_first: bool, purpose: str | None = None
    ) -> tuple[list[File], bool]:
        """Returns a page of files, and whether there are more.

        Args:
            tenant: owns the files.
            after: id of the last file of the page before; None for the first page.
            limit: most files of a page.
            newest_first: the order; otherwise the oldest come first.
            purpose: only files for this; None for all.

        Raises:
            NotFound: the tenant has no file `after`.
        """
        ids = sorted([name async for name in self._names(tenant)], reverse=newest_first)
        if after:
            if after not in ids:
                raise _unknown(after, "after")
            ids = ids[ids.index(after) + 1 :]
        found: list[File] = []
        for at in range(0, len(ids), READS):
            files = await self._find_all(tenant, ids[at : at + READS])
            found.extend(file for file in files if purpose in (None, file.purpose))
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    async def delete(self, tenant: str, file_id: str) -> None:
        """Deletes a file.

        Raises:
            NotFound: the tenant has no such file, or it has expired.
        """
        file = await self.get(tenant, file_id)
        await self._remove(tenant, file_id)
        if file.expires is not None:
            await self._store.delete(_expiry(tenant, file_id, file.expires))

    async def delete_expired(self) -> int:
        """Deletes the files of all tenants that have expired, and returns their number."""
        now, deleted = self._clock.wall(), 0
        async for marker in self._store.list(f"{EXPIRIES}/"):
            expires, tenant, file_id = marker.removeprefix(f"{EXPIRIES}/").split("/")
            if int(expires) > now:
                break
            await self._remove(tenant, file_id)
            await self._store.delete(marker)
            deleted += 1
        return deleted

    async def _remove(self, tenant: str, file_id: str) -> None:
        await self._store.delete(_known(tenant, file_id))
        await self._store.delete(_content(tenant, file_id))

    async def _find(self, tenant: str, file_id: str) -> File | None:
        if not is_id(file_id):
            return None
        try:
            file = File.model_validate_json((await self._store.get(_known(tenant, file_id)))[0])
        except Missing:
            return None
        return None if file.expired(self._clock.wall()) else file

    async def _find_all(self, tenant: str, ids: Sequence[str]) -> Sequence[File]:
        """Returns the files that are still there: some may be deleted while a page is made."""
        found = await asyncio.gather(*(self._find(tenant, file_id) for file_id in ids))
        return [file for file in found if file]

    async def _names(self, tenant: str) -> AsyncIterator[str]:
        async for name in self._store.list(f"{ROOT}/{tenant}/"):
            if name.endswith(".json"):
                yield name.rpartition("/")[2].removesuffix(".json")


def _known(tenant: str, file_id: str) -> str:
    return f"{ROOT}/{tenant}/{file_id}.json"


def _content(tenant: str, file_id: str) -> str:
    return f"{ROOT}/{tenant}/{file_id}"


def _expiry(tenant: str, file_id: str, expires: int) -> str:
    return f"{EXPIRIES}/{expires:012}/{tenant}/{file_id}"


def _unknown(file_id: str, param: str) -> NotFound:
    shown = file_id if len(file_id) <= 64 else f"{file_id[:64]}..."
    return NotFound(f"No such File object: {shown}", param=param)
