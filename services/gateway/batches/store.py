"""Batches in the object store: a document each, and results beside it in parts."""

from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass

from services.gateway.batches.batch import Batch, is_id
from services.gateway.batches.lines import Result
from services.shared.errors import NotFound
from services.shared.objectstore import Conflict, Missing, ObjectStore

ROOT = "_gateway/batches"
OPEN = "_gateway/open-batches"
TRIES = 8


@dataclass(frozen=True, slots=True)
class Stored:
    """A batch as it was read.

    Attributes:
        batch: the batch.
        etag: names the form that was read. Only who has read the latest form can change the batch.
    """

    batch: Batch
    etag: str


class BatchStore:
    """Stores batches. Every method raises StoreError when the object store cannot be reached."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def create(self, batch: Batch) -> None:
        """Stores a new batch. First it is marked as open: without its mark, a batch would never run."""
        await self._store.put_new(_marker(batch), b"")
        await self._store.put_new(_name(batch.tenant, batch.id), _written(batch))

    async def get(self, tenant: str, batch_id: str) -> Stored:
        """Returns a batch.

        Raises:
            NotFound: the tenant has no such batch.
        """
        if not is_id(batch_id):
            raise _unknown(batch_id, "batch_id")
        try:
            content, etag = await self._store.get(_name(tenant, batch_id))
        except Missing:
            raise _unknown(batch_id, "batch_id") from None
        return Stored(Batch.model_validate_json(content), etag)

    async def put(self, stored: Stored, batch: Batch) -> Stored:
        """Stores another form of a batch.

        Raises:
            Conflict: it was changed meanwhile.
        """
        await self._store.put_if(_name(batch.tenant, batch.id), _written(batch), stored.etag)
        return await self.get(batch.tenant, batch.id)

    async def change(self, tenant: str, batch_id: str, change: Callable[[Batch], Batch]) -> Batch:
        """Changes the latest form of a batch.

        Raises:
            NotFound: the tenant has no such batch.
            Conflict: others change it again and again. What `change` raises is raised too.
        """
        for _ in range(TRIES):
            stored = await self.get(tenant, batch_id)
            try:
                return (await self.put(stored, change(stored.batch))).batch
            except Conflict:
                continue
        raise Conflict(batch_id)

    async def open_batches(self, tenant: str = "") -> AsyncIterator[tuple[str, str]]:
        """Yields tenant and id of each batch that has not ended. tenant: only its batches; empty for all."""
        async for name in self._store.list(f"{OPEN}/{tenant}/" if tenant else f"{OPEN}/"):
            owner, _, batch_id = name.removeprefix(f"{OPEN}/").partition("/")
            yield owner, batch_id

    async def close(self, batch: Batch) -> None:
        """Removes the mark of a batch that has ended, and its parts."""
        await self._store.delete(_marker(batch))
        async for name in self._store.list(f"{_parts(batch)}/"):
            await self._store.delete(name)

    async def list(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """Returns a page of batches, newest first, and whether there are more.

        Args:
            tenant: owns the batches.
            after: id of the last batch of the page before; None for the first page.
            limit: most batches of a page.

        Raises:
            NotFound: the tenant has no batch `after`.
        """
        names = [name async for name in self._store.list(f"{ROOT}/{tenant}/") if name.endswith(".json")]
        ids = sorted((name.rpartition("/")[2].removesuffix(".json") for name in names), reverse=True)
        if after:
            if after not in ids:
                raise _unknown(after, "after")
            ids = ids[ids.index(after) + 1 :]
        return [(await self.get(tenant, batch_id)).batch for batch_id in ids[:limit]], len(ids) > limit

    async def add_part(self, batch: Batch, number: int, results: Iterable[Result]) -> None:
        """Stores some results. The name has the owner in it, so that no gateway overwrites the parts of another."""
        content = b"".join(result.dump() for result in results)
        await self._store.put_new(f"{_parts(batch)}/{batch.owner}-{number:08}.jsonl", content)

    async def results(self, batch: Batch) -> AsyncIterator[Result]:
        """Yields each result once, although two gateways may have stored the same one."""
        seen: set[int] = set()
        async for name in self._store.list(f"{_parts(batch)}/"):
            for line in b"".join([piece async for piece in self._store.stream(name)]).splitlines():
                result = Result.load(line)
                if result.index not in seen:
                    seen.add(result.index)
                    yield result


def _written(batch: Batch) -> bytes:
    return batch.model_dump_json().encode()


def _name(tenant: str, batch_id: str) -> str:
    return f"{ROOT}/{tenant}/{batch_id}.json"


def _parts(batch: Batch) -> str:
    return f"{ROOT}/{batch.tenant}/{batch.id}/parts"


def _marker(batch: Batch) -> str:
    return f"{OPEN}/{batch.tenant}/{batch.id}"


def _unknown(batch_id: str, param: str) -> NotFound:
    shown = batch_id if len(batch_id) <= 64 else f"{batch_id[:64]}..."
    return NotFound(f"No batch found with id '{shown}'.", param=param)
