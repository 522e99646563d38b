"""Batches in the object store: a document each, changed by who read its latest form, and results beside it in parts."""

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
    """etag: of the form that was read; whoever changes the batch must have read the latest one."""

    batch: Batch
    etag: str


class BatchStore:
    """Every method raises StoreError when the store is unwell."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def create(self, batch: Batch) -> None:
        """Marked as open first: a marker without a batch does no harm, a batch without one would never run."""
        await self._store.put_new(_marker(batch), b"")
        await self._store.put_new(_name(batch.tenant, batch.id), _written(batch))

    async def get(self, tenant: str, batch_id: str) -> Stored:
        """Raises NotFound."""
        if not is_id(batch_id):
            raise _unknown(batch_id)
        try:
            content, etag = await self._store.get(_name(tenant, batch_id))
        except Missing:
            raise _unknown(batch_id) from None
        return Stored(Batch.model_validate_json(content), etag)

    async def put(self, stored: Stored, batch: Batch) -> Stored:
        """Raises Conflict when somebody else changed it meanwhile."""
        await self._store.put_if(_name(batch.tenant, batch.id), _written(batch), stored.etag)
        return await self.get(batch.tenant, batch.id)

    async def change(self, tenant: str, batch_id: str, change: Callable[[Batch], Batch]) -> Batch:
        """Changes the latest form. Raises NotFound, Conflict when others keep changing it, and what `change` raises."""
        for _ in range(TRIES):
            stored = await self.get(tenant, batch_id)
            try:
                return (await self.put(stored, change(stored.batch))).batch
            except Conflict:
                continue
        raise Conflict(batch_id)

    async def open_batches(self, tenant: str = "") -> AsyncIterator[tuple[str, str]]:
        """Tenant and id of each that has not ended; of one tenant, or of all."""
        async for name in self._store.list(f"{OPEN}/{tenant}/" if tenant else f"{OPEN}/"):
            owner, _, batch_id = name.removeprefix(f"{OPEN}/").partition("/")
            yield owner, batch_id

    async def close(self, batch: Batch) -> None:
        """It has ended: nobody needs to look at it again."""
        await self._store.delete(_marker(batch))
        async for name in self._store.list(f"{_parts(batch)}/"):
            await self._store.delete(name)

    async def list(self, tenant: str, *, after: str | None, limit: int) -> tuple[list[Batch], bool]:
        """A page of batches, newest first, and whether there are more."""
        names = [name async for name in self._store.list(f"{ROOT}/{tenant}/") if name.endswith(".json")]
        ids = sorted((name.rpartition("/")[2].removesuffix(".json") for name in names), reverse=True)
        ids = [batch_id for batch_id in ids if not after or batch_id < after]
        return [(await self.get(tenant, batch_id)).batch for batch_id in ids[:limit]], len(ids) > limit

    async def add_part(self, batch: Batch, number: int, results: Iterable[Result]) -> None:
        """Results are kept as they come. An owner's parts have names of its own, so that none is written over."""
        content = b"".join(result.dump() for result in results)
        await self._store.put_new(f"{_parts(batch)}/{batch.owner}-{number:08}.jsonl", content)

    async def results(self, batch: Batch) -> AsyncIterator[Result]:
        """Each once, though a gateway that was taken for dead may have given some again."""
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


def _unknown(batch_id: str) -> NotFound:
    shown = batch_id if len(batch_id) <= 64 else f"{batch_id[:64]}..."
    return NotFound(f"No such batch: '{shown}'.", param="batch_id")
