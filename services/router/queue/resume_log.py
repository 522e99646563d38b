"""The journal: what gateways have written of running streams, so that others may go on with them.

The one place where the router holds tokens; it does not look at them (docs/adr/0008-resuming-by-event-id.md).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import RedisError

from services.router.core.keys import PoolKeys
from services.router.redis.script_runner import RedisUnavailable, ScriptRunner
from services.router.redis.scripts import PoolScripts
from services.shared.config import Journal as Bounds
from tidegate.router.v1 import router_pb2 as pb

PARTS_OF_A_CALL = 32


class PoolResumeLogs:
    """The logs of one pool. Raises RedisUnavailable when Redis does not answer."""

    def __init__(self, keys: PoolKeys, scripts: PoolScripts, bounds: Bounds, store: ScriptRunner) -> None:
        self._keys, self._scripts, self._bounds, self._store = keys, scripts, bounds, store

    async def write(self, parts: Sequence[pb.LogPart]) -> list[pb.LogLength]:
        """The calls leave together: many small ones, so that no grant waits for a long one."""
        few = [parts[at : at + PARTS_OF_A_CALL] for at in range(0, len(parts), PARTS_OF_A_CALL)]
        answers = await asyncio.gather(
            *(self._store.call(self._scripts.append_log(self._bounds, some)) for some in few)
        )
        lengths = [length for answer in answers for length in answer]
        return [
            pb.LogLength(request_id=part.request_id, length=max(0, length), full=length < 0)
            for part, length in zip(parts, lengths, strict=True)
        ]

    async def read(self, request_id: str) -> bytes | None:
        try:
            log: Any = await self._store.client(self._keys).get(self._keys.key("log:", request_id))
        except (RedisError, OSError) as error:
            raise RedisUnavailable(str(error)) from error
        return None if log is None else bytes(log)


class ResumeLogs:
    """The journals of all pools that have one."""

    def __init__(self, pools: dict[str, PoolResumeLogs]) -> None:
        self._pools = pools

    async def write(self, parts: Iterable[pb.LogPart]) -> pb.JournalWritten:
        """What has no place to be written is said to be full; what Redis did not take is not said at all."""
        by_pool: dict[str, list[pb.LogPart]] = defaultdict(list)
        for part in parts:
            by_pool[part.pool].append(part)
        written = pb.JournalWritten()
        for pool, of_pool in by_pool.items():
            written.logs.extend(await self._write(pool, of_pool))
        return written

    async def _write(self, pool: str, parts: list[pb.LogPart]) -> list[pb.LogLength]:
        if (journal := self._pools.get(pool)) is None:
            return [pb.LogLength(request_id=part.request_id, full=True) for part in parts]
        try:
            return await journal.write(parts)
        except RedisUnavailable:
            return []

    async def read(self, pool: str, request_id: str) -> bytes | None:
        """None: nothing is kept, or no more. Raises RedisUnavailable."""
        journal = self._pools.get(pool)
        return await journal.read(request_id) if journal and request_id else None
