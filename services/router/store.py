"""The connection to Redis: script calls in the order they are made, many to one round trip.

Calls that arrive while a round trip is under way leave together in the next one, so the order of a gateway's requests
is kept without a round trip each, and throughput grows with load.
"""

import asyncio
import logging
from collections import deque
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import redis.asyncio as redis
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError
from redis.retry import Retry

from services.router.keys import PoolKeys
from services.router.metrics import RouterMetrics
from services.router.scripts import Call
from services.shared.settings import WrongSettings

log = logging.getLogger(__name__)

MAX_PENDING = 20_000
MAX_BATCH = 256
TIMEOUT_S = 3.0
OLDEST_REDIS = (7, 0)


class StoreUnavailable(Exception):
    """Redis did not answer; the calls may or may not have run. All of them are safe to repeat."""


@dataclass(slots=True)
class _Pending:
    call: Call
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class Store:
    def __init__(self, url: str, metrics: RouterMetrics) -> None:
        # A call that failed must not be sent again by the client library: whether to repeat it is ours to decide.
        options: dict[str, Any] = {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
        }
        self.client = redis.Redis.from_url(url, **options)
        self._metrics = metrics
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()
        # Grows with every round trip that failed; whoever saw it grow knows that answers may have been lost.
        self.failures = 0

    async def check(self) -> None:
        """Raises WrongSettings for a Redis that could lose what the router relies on, RedisError when there is none."""
        info = await self.client.info()
        version = tuple(int(part) for part in str(info["redis_version"]).split(".")[:2])
        if version < OLDEST_REDIS:
            raise WrongSettings(f"Redis is {info['redis_version']}: 7.0 or later is needed (or any Valkey)")
        if (policy := info["maxmemory_policy"]) != "noeviction":
            raise WrongSettings(f"Redis has maxmemory-policy = {policy!r}: it must be 'noeviction'")

    async def call(self, call: Call) -> Any:
        """Runs one script. Raises StoreUnavailable."""
        if len(self._pending) >= MAX_PENDING:
            raise StoreUnavailable(f"{MAX_PENDING} calls are waiting for Redis already")
        pending = _Pending(call)
        self._pending.append(pending)
        self._wake.set()
        return await pending.answer

    async def run(self) -> None:
        """Sends what `call` hands over, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
                await self._send(batch)

    async def _send(self, batch: list[_Pending]) -> None:
        started = perf_counter()
        try:
            answers = await self._execute(batch)
            missing = [p for p, answer in zip(batch, answers, strict=True) if isinstance(answer, NoScriptError)]
            if missing:
                # A script that Redis does not know has not run, so sending it again is safe.
                await self._load(missing)
                again = iter(await self._execute(missing))
                answers = [next(again) if isinstance(answer, NoScriptError) else answer for answer in answers]
        except (RedisError, OSError) as error:
            self.failures += 1
            self._metrics.redis_failures.inc()
            answers = [StoreUnavailable(str(error))] * len(batch)
        self._metrics.round_trips.observe(perf_counter() - started)
        for pending, answer in zip(batch, answers, strict=True):
            _settle(pending, answer)

    async def _execute(self, batch: list[_Pending]) -> list[Any]:
        pipeline = self.client.pipeline(transaction=False)
        for pending in batch:
            call = pending.call
            self._metrics.scripts.labels(call.script.name).inc()
            pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        return list(await pipeline.execute(raise_on_error=False))

    async def _load(self, missing: list[_Pending]) -> None:
        for script in {pending.call.script for pending in missing}:
            await self.client.script_load(script.source)

    async def owned(self, keys: PoolKeys, session_id: str) -> list[tuple[str, int]]:
        """Id and current attempt of every request of a gateway session. Raises StoreUnavailable."""
        try:
            members: Any = await self.client.smembers(keys.key("owned:", session_id))
            ids = [raw.decode() for raw in members]
            pipeline = self.client.pipeline(transaction=False)
            for request_id in ids:
                pipeline.hget(keys.key("request:", request_id), "attempt")
            attempts = await pipeline.execute() if ids else []
        except (RedisError, OSError) as error:
            raise StoreUnavailable(str(error)) from error
        return [(name, int(attempt)) for name, attempt in zip(ids, attempts, strict=True) if attempt]

    async def close(self) -> None:
        for pending in self._pending:
            _settle(pending, StoreUnavailable("the router stops"))
        await self.client.aclose()


def _settle(pending: _Pending, answer: Any) -> None:
    if pending.answer.done():
        return
    if isinstance(answer, StoreUnavailable):
        pending.answer.set_exception(answer)
    elif isinstance(answer, Exception):
        log.error("script %s failed", pending.call.script.name, exc_info=answer)
        pending.answer.set_exception(StoreUnavailable(str(answer)))
    else:
        pending.answer.set_result(answer)
