"""Resume logs: what gateways have written of running streams, so that other gateways can continue them.

This is the only place where the router holds tokens. It does not read them (docs/adr/0008-resuming-by-event-id.md).
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from redis.exceptions import RedisError

from services.router.core.keys import PoolKeys
from services.router.redis.script_runner import RedisUnavailable, ScriptRunner
from services.router.redis.scripts import PoolScripts
from services.shared.config import ResumeLog as Bounds
from tidegate.router.v1 import router_pb2 as pb

PARTS_OF_A_CALL = 32


class PoolResumeLogs:
    """The logs of one pool. Methods raise RedisUnavailable when Redis does not answer."""

    def __init__(self, keys: PoolKeys, scripts: PoolScripts, bounds: Bounds, runner: ScriptRunner) -> None:
        self._keys, self._scripts, self._bounds, self._runner = keys, scripts, bounds, runner

    async def write(self, parts: Sequence[pb.LogPart]) -> list[pb.LogLength]:
        """Appends parts, and returns the length of each log. Calls are small, so that no grant waits for a long one."""
        few = [parts[at : at + PARTS_OF_A_CALL] for at in range(0, len(parts), PARTS_OF_A_CALL)]
        answers = await asyncio.gather(
            *(self._runner.call(self._scripts.append_log(self._bounds, some)) for some in few)
        )
        lengths = [length for answer in answers for length in answer]
        return [
            pb.LogLength(request_id=part.request_id, length=max(0, length), full=length < 0)
            for part, length in zip(parts, lengths, strict=True)
        ]

    async def read(self, request_id: str) -> bytes | None:
        """The log of one stream; None when there is none."""
        try:
            log: Any = await self._runner.client(self._keys).get(self._keys.key("log:", request_id))
        except (RedisError, OSError) as error:
            raise RedisUnavailable(str(error)) from error
        return None if log is None else bytes(log)


class ResumeLogs:
    """The logs of all pools that keep any."""

    def __init__(self, pools: dict[str, PoolResumeLogs]) -> None:
        self._pools = pools

    async def write(self, parts: Iterable[pb.LogPart]) -> pb.JournalWritten:
        """Appends parts to the logs of their pools.

        Returns:
            The length of each log. A pool without logs reports `full`. Parts that Redis did not take are left out.
        """
        by_pool: dict[str, list[pb.LogPart]] = defaultdict(list)
        for part in parts:
            by_pool[part.pool].append(part)
        written = pb.JournalWritten()
        for pool, of_pool in by_pool.items():
            written.logs.extend(await self._write(pool, of_pool))
        return written

    async def _write(self, pool: str, parts: list[pb.LogPart]) -> list[pb.LogLength]:
        if (logs := self._pools.get(pool)) is None:
            return [pb.LogLength(request_id=part.request_id, full=True) for part in parts]
        try:
            return await logs.write(parts)
        except RedisUnavailable:
            return []

    async def read(self, pool: str, request_id: str) -> bytes | None:
        """The log of one stream; None when there is none. Raises RedisUnavailable."""
        logs = self._pools.get(pool)
        return await logs.read(request_id) if logs and request_id else None
