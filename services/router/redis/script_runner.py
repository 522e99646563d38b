"""Runs scripts in Redis: the calls of a pool leave in the order in which they are made, many in one round trip.

Calls that come while a round trip is under way leave together in the next one. So the order of a gateway's requests is
kept without a round trip for each, and throughput grows with load. Pools do not wait for each other.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import Any

import hiredis
from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from services.router.core.keys import PoolKeys
from services.router.redis.connection import TIMEOUT_S, RedisAccess, connect
from services.router.redis.health import SECTIONS, RedisHealth, examine
from services.router.redis.metrics import ScriptMetrics
from services.router.redis.scripts import Call

log = logging.getLogger(__name__)

MAX_PENDING = 20_000
MAX_BATCH = 256


class RedisUnavailable(Exception):
    """Redis did not answer, or refused. The calls may or may not have run; all of them are safe to repeat."""


@dataclass(slots=True)
class _Pending:
    call: Call
    answer: asyncio.Future[Any] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class ScriptRunner:
    """Runs the scripts of all pools, each pool in its own lane."""

    def __init__(self, access: RedisAccess, pools: Iterable[PoolKeys], metrics: ScriptMetrics) -> None:
        self._metrics = metrics
        self._pools = tuple(pools)
        self._lanes = {keys.root: Lane(connect(access, keys), metrics) for keys in self._pools}
        self._access = access

    @property
    def failures(self) -> int:
        """Round trips that failed. After it grew, answers may have been lost."""
        return sum(lane.failures for lane in self._lanes.values())

    def client(self, keys: PoolKeys) -> Redis:
        """A client of the pool's server, for plain commands. Its calls raise RedisError or OSError."""
        return self._lanes[keys.root].client

    async def check(self) -> None:
        """Checks the Redis of every pool, and logs warnings.

        Raises:
            WrongSettings: A Redis could lose data that the router relies on.
            RedisError: Redis did not answer.
        """
        for keys in self._pools:
            started = perf_counter()
            try:
                for warning in examine(await self.health(keys), self._access.url):
                    log.warning("Redis of %s: %s", keys.pool, warning)
            except (RedisError, OSError):
                self._metrics.failures.inc()
                raise
            finally:
                self._metrics.round_trips.observe(perf_counter() - started)

    async def health(self, keys: PoolKeys) -> RedisHealth:
        """The health of the server that holds the pool's keys. Raises RedisError or OSError."""
        return RedisHealth.of_info(await self.client(keys).info(*SECTIONS))

    async def call(self, call: Call) -> Any:
        """Runs one script, and returns its answer. Raises RedisUnavailable."""
        return await self._lanes[call.keys[0]].call(call)

    def senders(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """For each pool its name, and the task that sends the calls; it runs until cancelled."""
        for keys in self._pools:
            yield keys.pool, self._lanes[keys.root].run()

    async def owned(self, keys: PoolKeys, session_id: str) -> list[tuple[str, int]]:
        """Id and current attempt of every request of a gateway session. Raises RedisUnavailable."""
        try:
            members: Any = await self.client(keys).smembers(keys.key("owned:", session_id))
            ids = [raw.decode() for raw in members]
            pipeline = self.client(keys).pipeline(transaction=False)
            for request_id in ids:
                pipeline.hget(keys.key("request:", request_id), "attempt")
            attempts = await pipeline.execute() if ids else []
        except (RedisError, OSError) as error:
            raise RedisUnavailable(str(error)) from error
        return [(name, int(attempt)) for name, attempt in zip(ids, attempts, strict=True) if attempt]

    async def close(self) -> None:
        """Closes every connection. Calls that wait fail."""
        for lane in self._lanes.values():
            await lane.close()


class Lane:
    """The calls of one pool. One batch is under way at a time."""

    def __init__(self, client: Redis, metrics: ScriptMetrics) -> None:
        self.client = client
        self.failures = 0
        self._metrics = metrics
        self._pending: deque[_Pending] = deque()
        self._wake = asyncio.Event()

    async def call(self, call: Call) -> Any:
        """Queues a call, and waits for its answer. Raises RedisUnavailable."""
        if len(self._pending) >= MAX_PENDING:
            raise RedisUnavailable(f"{MAX_PENDING} calls are waiting for Redis already")
        pending = _Pending(call)
        self._pending.append(pending)
        self._wake.set()
        return await pending.answer

    async def run(self) -> None:
        """Sends calls until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                batch = [self._pending.popleft() for _ in range(min(len(self._pending), MAX_BATCH))]
                await self._send(batch)

    async def _send(self, batch: list[_Pending]) -> None:
        started = perf_counter()
        for name, calls in Counter(pending.call.script.name for pending in batch).items():
            self._metrics.calls[name].inc(calls)
        try:
            answers = await self._execute([pending.call for pending in batch])
        except (RedisError, OSError) as error:
            self.failures += 1
            self._metrics.failures.inc()
            answers = [RedisUnavailable(str(error))] * len(batch)
        self._metrics.round_trips.observe(perf_counter() - started)
        self._count_refused(answers)
        for pending, answer in zip(batch, answers, strict=True):
            _settle(pending, answer)

    async def _execute(self, calls: list[Call]) -> list[Any]:
        pool = self.client.connection_pool
        connection = await pool.get_connection()  # type: ignore[no-untyped-call]
        try:
            answers = await _run(connection, calls)
            missing = [call for call, answer in zip(calls, answers, strict=True) if isinstance(answer, NoScriptError)]
            if missing:
                # An operator flushed them. A script that Redis does not know has not run: to send it again is safe.
                connection.loaded.clear()
                again = iter(await _run(connection, missing))
                answers = [next(again) if isinstance(answer, NoScriptError) else answer for answer in answers]
        finally:
            await pool.release(connection)
        return answers

    def _count_refused(self, answers: list[Any]) -> None:
        """Logs one line for a batch, because all of it meets the same trouble: no memory, loading, busy, no quorum."""
        refused = [answer for answer in answers if isinstance(answer, RedisError)]
        self._metrics.refused.inc(len(refused))
        if refused:
            log.error("Redis refused %d script calls: %s", len(refused), refused[0])

    async def close(self) -> None:
        """Closes the connections. Calls that wait fail."""
        for pending in self._pending:
            _settle(pending, RedisUnavailable("the router stops"))
        await self.client.aclose()


async def _run(connection: Any, calls: list[Call]) -> list[Any]:
    """Loads the scripts that the server may not know first, so that no call fails while later ones run."""
    unknown = {call.script.sha: call.script for call in calls if call.script.sha not in connection.loaded}
    loads: list[Any] = [("SCRIPT", "LOAD", script.source) for script in unknown.values()]
    runs: list[Any] = [("EVALSHA", call.script.sha, len(call.keys), *call.keys, *call.args) for call in calls]
    await connection.send_packed_command(b"".join(hiredis.pack_command(words) for words in [*loads, *runs]))
    async with asyncio.timeout(TIMEOUT_S):
        for script in unknown.values():
            if isinstance(refused := await _answer(connection), ResponseError):
                log.error("Redis refused to load %s: %s", script.name, refused)
            else:
                connection.loaded.add(script.sha)
        return [await _answer(connection) for _ in runs]


async def _answer(connection: Any) -> Any:
    """Reads one answer; an error of one call is an answer too. Raises RedisError or OSError if the connection broke."""
    try:
        # A time limit for each read costs more than the read. `_run` has one limit for all answers.
        return await connection.read_response(timeout=inf)
    except ResponseError as error:
        return error


def _settle(pending: _Pending, answer: Any) -> None:
    if pending.answer.done():
        return
    if isinstance(answer, RedisUnavailable):
        pending.answer.set_exception(answer)
    elif isinstance(answer, Exception):
        pending.answer.set_exception(RedisUnavailable(f"{pending.call.script.name}: {answer}"))
    else:
        pending.answer.set_result(answer)
