"""Tidegate's own router: the scripts that serve a cluster, in a real Redis, with the clock of the simulation."""

from typing import Any

import orjson
import redis

from loadtests.simulator.ask import BLOCK_TOKENS
from loadtests.simulator.dispatch import Order, Refuse, Start, Yield
from loadtests.simulator.engine import Engine
from loadtests.simulator.request import Request
from services.router.core.class_rules import Rules
from services.router.core.events import Displaced, Expired, Granted, Preempted, decode_event
from services.router.core.keys import PoolKeys
from services.router.core.prefix_hashes import prefix_hashes
from services.router.redis.scripts import NAMES, Call, Composition, PoolScripts, Submission, WorkerReport, script
from services.shared.config import Cluster

SESSION = "simulation"
HASH_BYTES = 8
# Leases are for processes around the queue, which are not simulated.
LEASE_MS = 10**12
NO_WORKER_GRACE_MS = 1000
REAP_LIMIT = 64
REFUSALS = ("queue_full", "no_workers", "limited")
EPOCH = 1


class RouterDispatch:
    """Sends events as script calls. `flush` raises redis.RedisError when Redis fails."""

    def __init__(self, client: redis.Redis, cluster: Cluster, expected_output_tokens: int) -> None:
        """Empties the database."""
        pool = cluster.pools[0]
        self._client = client
        self._rules = Rules.of_cluster(cluster)
        self._keys = PoolKeys(pool.name)
        composition = Composition.of_pool(pool, "simulated")
        self._scripts = PoolScripts(self._keys, "simulator", composition)
        self._expected_output = expected_output_tokens
        self._requests: dict[str, Request] = {}
        self._calls: list[tuple[Call, Request | None]] = []
        self.script_calls = 0
        client.flushdb()
        for name in NAMES:
            client.script_load(script(name, composition).source)

    def submit(self, request: Request) -> None:
        """Queues the call that submits a request."""
        ask = request.ask
        self._requests[ask.request_id] = request
        left = max(1, self._expected_output - request.produced)
        prompt = ask.prompt_tokens + request.produced
        submission = Submission(
            session=SESSION,
            request_id=ask.request_id,
            attempt=request.attempt,
            service_class=ask.service_class,
            tokens=prompt + left,
            give_up_after_ms=self._rules.of(ask.service_class).max_wait_ms,
            tenant=ask.tenant,
            prompt_tokens=prompt,
            at_head=request.attempt > 1,
            prefix_hashes=_prefix_hashes(request),
        )
        call = self._scripts.submit(submission, self._rules, lease_ms=LEASE_MS, no_worker_grace_ms=NO_WORKER_GRACE_MS)
        self._calls.append((call, request))

    def finish(self, request: Request) -> None:
        """Queues the call that ends a request."""
        ask = request.ask
        del self._requests[ask.request_id]
        tokens = ask.prompt_tokens + ask.output_tokens
        self._add(self._scripts.finish(ask.request_id, request.attempt, self._rules, actual_tokens=tokens))

    def beat(self, worker: int, engine: Engine) -> None:
        """Queues the call of a heartbeat."""
        report = WorkerReport(
            worker_id=str(worker),
            epoch=EPOCH,
            state="ready",
            slots=engine.config.max_running,
            kv_tokens=engine.kv.capacity_tokens,
            model_version="v1",
            address="",
            heartbeat=b"",
            prefill_tokens_per_s=engine.config.prefill_tokens_per_s,
            kv_tokens_used=engine.kv.used_tokens,
            waiting=len(engine.scheduler.waiting),
        )
        self._add(self._scripts.heartbeat(report, self._rules, lease_ms=LEASE_MS))

    def maintenance(self) -> None:
        """Queues the call that reaps."""
        self._add(self._scripts.reap(self._rules, limit=REAP_LIMIT, worker_lease_ms=LEASE_MS))

    def flush(self, now_ms: int) -> list[Order]:
        """Runs all queued calls at this time, and returns what follows from them."""
        if not self._calls:
            return []
        pipeline = self._client.pipeline(transaction=False)
        pipeline.set(f"{self._keys.root}clock", now_ms)
        for call, _ in self._calls:
            pipeline.evalsha(call.script.sha, len(call.keys), *call.keys, *call.args)
        replies = pipeline.execute()[1:]
        submitted = [request for _, request in self._calls]
        self.script_calls += len(self._calls)
        self._calls = []
        return [order for pair in zip(submitted, replies, strict=True) for order in self._orders(*pair)]

    def _add(self, call: Call) -> None:
        self._calls.append((call, None))

    def _orders(self, submitted: Request | None, reply: list[Any]) -> list[Order]:
        """The answers of scripts say no more than their events, except for refusals."""
        answer, events = reply
        orders = [order for event in events if (order := self._order(event))]
        if submitted and orjson.loads(answer)["kind"] in REFUSALS:
            del self._requests[submitted.ask.request_id]
            orders.append(Refuse(submitted, "refused"))
        return orders

    def _order(self, document: bytes) -> Order | None:
        match decode_event(document):
            case Granted(request_id=name, attempt=attempt, worker_id=worker):
                request = self._open(name, attempt)
                return Start(request, int(worker), request.ask.service_class) if request else None
            case Preempted(request_id=name, attempt=attempt):
                request = self._open(name, attempt)
                return Yield(request) if request else None
            case Expired(request_id=name):
                return Refuse(self._requests.pop(name), "expired")
            case Displaced(request_id=name):
                return Refuse(self._requests.pop(name), "refused")
            case event:
                raise RuntimeError(f"nothing here should have brought about {event}")

    def _open(self, name: str, attempt: int) -> Request | None:
        """None for an attempt that has ended."""
        request = self._requests.get(name)
        return request if request and request.attempt == attempt else None


def _prefix_hashes(request: Request) -> tuple[str, ...]:
    prompt = request.ask.prompt_blocks
    return prefix_hashes([int.from_bytes(block[:HASH_BYTES]) for block in prompt], BLOCK_TOKENS)
