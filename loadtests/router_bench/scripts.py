"""The cost of one script call inside Redis: by policy, by length of the queue, with and without prefix hashes."""

from collections.abc import Callable, Iterator
from random import Random
from time import perf_counter
from typing import Any

import redis
from pydantic import BaseModel, ConfigDict

from loadtests.redis_server import RedisServer
from services.router.core.class_rules import Rules
from services.router.core.keys import PoolKeys
from services.router.core.prefix_hashes import prefix_hashes
from services.router.redis.scripts import NAMES, Call, Composition, PoolScripts, Submission, WorkerReport, script
from services.shared.class_policy import ClassPolicy
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool

WORKERS, SLOTS = 64, 64
TENANTS = 50
BLOCK_TOKENS = 64
BATCH = 100
FOR_EVER_MS = 10_000_000
RULES = Rules.of_cluster(
    Cluster(
        pools=(Pool(name="bench", model="bench"),),
        classes={"default": ClassPolicy(max_queued=10**6, max_queued_tokens=10**12, max_wait_s=86_400)},
    )
)


class Case(BaseModel):
    """What is measured. `blocks`: hashed blocks of the prompt; 0: none. `queued`: requests that wait."""

    model_config = ConfigDict(frozen=True)

    policy: str
    blocks: int
    queued: int


class Cost(BaseModel):
    """Microseconds of Redis' CPU and by its clock (mean and quantiles), and calls a second by our clock."""

    cpu_us: float
    mean_us: float
    p50_us: float
    p99_us: float
    per_second: float


class ScriptFigures(BaseModel):
    """The costs of one case."""

    case: Case
    submit: Cost
    finish: Cost


def measure(server: RedisServer, case: Case, calls: int) -> ScriptFigures:
    """Measures one case. With an empty queue a submit is granted; else it waits, and a finish grants to the next one.

    Empties the server.
    """
    client = server.client
    client.flushall()
    load = _Load(case)
    for name in NAMES:
        client.script_load(script(name, Composition(case.policy)).source)
    _run(client, load.attach())
    running = WORKERS * SLOTS if case.queued else WORKERS * SLOTS - calls
    _run(client, load.submits(running + case.queued))
    submit = _cost(server, list(load.submits(calls)))
    return ScriptFigures(case=case, submit=submit, finish=_cost(server, list(load.finishes(calls))))


class _Load:
    """The script calls of one router; always the same for the same case."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._scripts = PoolScripts(PoolKeys("bench"), "router", Composition(case.policy))
        self._random = Random(1)  # noqa: S311 (a load, no secret)
        self._submitted = 0

    def attach(self) -> Iterator[Call]:
        yield self._scripts.renew(["session"], lease_ms=FOR_EVER_MS, create=True)
        for n in range(WORKERS):
            report = WorkerReport(f"worker-{n}", 1, "ready", SLOTS, 10**6, "v1", "10.0.0.1:8081", bytes(200))
            yield self._scripts.heartbeat(report, RULES, lease_ms=FOR_EVER_MS)

    def submits(self, number: int) -> Iterator[Call]:
        for _ in range(number):
            submission = Submission(
                *("session", _name(self._submitted), 1, ServiceClass.DEFAULT, 500, FOR_EVER_MS),
                tenant=f"tenant-{self._submitted % TENANTS}",
                prompt_tokens=400,
                prefix_hashes=self._prefix_hashes(),
            )
            self._submitted += 1
            yield self._scripts.submit(submission, RULES, lease_ms=FOR_EVER_MS, no_worker_grace_ms=FOR_EVER_MS)

    def _prefix_hashes(self) -> tuple[str, ...]:
        """A prompt that is not in the index: the most expensive kind, because all of it is added."""
        return prefix_hashes([self._random.getrandbits(64) for _ in range(self._case.blocks)], BLOCK_TOKENS)

    def finishes(self, number: int) -> Iterator[Call]:
        """Ends the requests that came first; they run."""
        for n in range(number):
            yield self._scripts.finish(_name(n), 1, RULES, actual_tokens=300)


def _name(n: int) -> str:
    return f"chatcmpl-{n:032x}"


def _run(client: redis.Redis, calls: Iterator[Call]) -> None:
    pipeline = client.pipeline(transaction=False)
    for call in calls:
        pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        if len(pipeline) == BATCH:
            pipeline.execute()
    pipeline.execute()


def _cost(server: RedisServer, calls: list[Call]) -> Cost:
    client = server.client
    send = _packed(client, calls)
    client.config_resetstat()
    started, used = perf_counter(), server.cpu_s
    send()
    elapsed, used = perf_counter() - started, server.cpu_s - used
    stats = client.info("commandstats", "latencystats")
    quantiles = stats["latency_percentiles_usec_evalsha"]
    return Cost(
        cpu_us=used / len(calls) * 1e6,
        mean_us=stats["cmdstat_evalsha"]["usec_per_call"],
        p50_us=quantiles["p50"],
        p99_us=quantiles["p99"],
        per_second=len(calls) / elapsed,
    )


def _packed(client: redis.Redis, calls: list[Call]) -> Callable[[], None]:
    """Packs the calls before the clock starts, so that the speed of Python is not measured."""
    connection: Any = client.connection_pool.get_connection()
    commands = [("EVALSHA", c.script.sha, len(c.keys), *c.keys, *c.args) for c in calls]
    batches = [commands[n : n + BATCH] for n in range(0, len(commands), BATCH)]
    packed = [(connection.pack_commands(batch), len(batch)) for batch in batches]

    def send() -> None:
        for command, number in packed:
            connection.send_packed_command(command)
            for _ in range(number):
                connection.read_response()
        client.connection_pool.release(connection)

    return send
