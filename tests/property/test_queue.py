"""The scripts against the model, step by step: no loss, no double grant, exact order, exact sums, no leaked key.

`pytest tests/property --hypothesis-profile=deep` looks much further.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
import redis
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from loadtests.redis_server import programs, running
from services.router.core.class_rules import Rules
from services.router.core.events import Event, Granted
from services.router.redis.scripts import Composition, Limit, Submission, WorkerReport
from services.shared.class_policy import ClassPolicy
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool
from tests.property.budgets import Budget
from tests.property.model import Model
from tests.property.replicas import POOL, ROUTERS, Replicas, grants
from tests.property.stock import CONSTANT, Stock
from tidegate.router.v1 import router_pb2 as pb

pytestmark = pytest.mark.slow

START_MS = 1_000_000
LEASE_MS = 10_000
GRACE_MS = 30_000
# More than a run of crowds alone can queue: the model has no such limit.
REAP_LIMIT = 1_000
FIRST_EPOCH = 9
# Each clears one cache away that is no more.
LAST_REAPS = 30

SESSIONS = ("session-1", "session-2")
WORKERS = ("worker-1", "worker-2", "worker-3")
# Their budgets refill by halves of seconds, so the rounding of a simulated moment never matters.
LIMITS = (
    Limit("by-key", requests_per_minute=6, tokens_per_minute=0, concurrency=3),
    Limit("by-model", requests_per_minute=0, tokens_per_minute=1200, concurrency=0),
)
CLASSES = {
    "priority": ClassPolicy(max_wait_s=30, ttft_objective_s=0.5, preempts=True),
    "default": ClassPolicy(max_wait_s=30, ageing_s=1, max_queued=12),
    "flex": ClassPolicy(max_wait_s=60, ageing_s=2, preemptible=True, max_queued_tokens=1_000),
    "batch": ClassPolicy(max_wait_s=600, ageing_s=3, preemptible=True),
}
CHANGES = st.sampled_from(
    [
        pb.ClassPolicy(max_queued=2),
        pb.ClassPolicy(ageing_ms=500),
        pb.ClassPolicy(ageing_ms=0, preempts=True),
        pb.ClassPolicy(preemptible=False, ttft_objective_ms=0),
    ]
)
CLUSTER = Cluster(pools=(Pool(name=POOL, model=POOL),), classes=CLASSES)

routers = st.runner().flatmap(lambda machine: st.sampled_from(machine.routers))
costs = st.sampled_from([50, 100, 150, 400, 0])
# Beginnings that prompts have in common.
prompts = st.sampled_from([(), ("a.50",), ("a.50", "b.50"), ("a.50", "c.100"), ("d.100", "e.200")])


def mostly(usual: Any, *unusual: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([usual] * 12 + list(unusual))


submissions = st.builds(
    Submission,
    session=st.sampled_from(SESSIONS),
    request_id=st.sampled_from([f"odd-{n}" for n in range(4)]),
    attempt=mostly(1, 2, 3),
    service_class=st.sampled_from([ServiceClass.DEFAULT, *ServiceClass]),
    tokens=costs,
    give_up_after_ms=mostly(60_000, 2_000, 0),
    tenant=st.sampled_from(["ann", "bob", "cid"]),
    weight=st.sampled_from([1.0, 1.0, 3.0, 0.01]),
    prompt_tokens=st.just(200),
    objective_ms=mostly(0, 1_000),
    at_head=mostly(False, True),
    excluded_workers=mostly((), WORKERS[:1], WORKERS[:2]),
    model_version=mostly("", "v1", "v2"),
    adapter=mostly("", "red"),
    prefix_hashes=prompts,
    limits=mostly((), LIMITS[:1], LIMITS[1:], LIMITS),
)
reports = st.builds(
    WorkerReport,
    worker_id=st.sampled_from(WORKERS),
    epoch=st.just(FIRST_EPOCH),
    state=mostly("ready", "draining", "stuck"),
    slots=st.sampled_from([1, 2]),
    kv_tokens=mostly(1_000, 200),
    model_version=mostly("v1", "v2"),
    address=st.just("worker:1"),
    heartbeat=st.just(b""),
    kv_tokens_used=mostly(0, 150, 1_000),
    waiting=mostly(0, 1),
    adapters=mostly((), ("red", "blue")),
    loaded_adapters=mostly((), ("red",)),
)


class RouterQueue(RuleBasedStateMachine):
    def __init__(
        self, client: redis.Redis, policy: str, overtaking: int = 0, burst_tokens: int = 0, isolation: float = 0.0
    ) -> None:
        """With a cache bypass all calls go through one replica: only then the order of two grants is known."""
        super().__init__()
        self.class_rules = Rules.of_cluster(CLUSTER)
        self.model = Model(
            START_MS,
            session_lease_ms=LEASE_MS,
            worker_lease_ms=LEASE_MS,
            no_worker_grace_ms=GRACE_MS,
            overtaking=overtaking,
            burst_tokens=burst_tokens,
            isolation=isolation,
        )
        composition = Composition(policy, "simulated", overtaking, burst_tokens, isolation)
        self.replicas = Replicas(client, composition, START_MS)
        self.routers = ROUTERS[:1] if overtaking else ROUTERS
        self._ids = count()

    # ---- what gateways do

    @initialize(router=routers, slots=st.sampled_from([1, 2]))
    def a_worker_is_there(self, router: str, slots: int) -> None:
        self.heartbeat(router, WorkerReport(WORKERS[0], FIRST_EPOCH, "ready", slots, 1_000, "v1", "worker:1", b""))

    @rule(router=routers, fresh=st.lists(submissions, min_size=1, max_size=4))
    def some_come(self, router: str, fresh: list[Submission]) -> None:
        self.submit_some(router, fresh)

    def submit_some(self, router: str, fresh: list[Submission]) -> None:
        for submission in fresh:
            self.submit(router, replace(submission, request_id=f"r{next(self._ids):03d}", attempt=1, at_head=False))

    @rule(router=routers, template=submissions, known=prompts, rank=st.sampled_from(ServiceClass))
    def a_crowd_comes(self, router: str, template: Submission, known: tuple[str, ...], rank: ServiceClass) -> None:
        """Requests of a tenant with little weight, and one of another tenant whose prompt may be cached."""
        plain = replace(template, service_class=rank, excluded_workers=(), model_version="", adapter="", limits=())
        crowd = [replace(plain, tenant="loud", weight=0.01, tokens=100, prefix_hashes=())] * 3
        self.submit_some(router, [*crowd, replace(plain, tenant="quiet", weight=1.0, prefix_hashes=known)])

    @rule(router=routers, others=st.lists(submissions, min_size=2, max_size=4), ended=st.sampled_from([3, 6]))
    def a_tenant_is_noisy(self, router: str, others: list[Submission], ended: int) -> None:
        """One tenant is noisy. The others' requests get slots beside it, and so an isolation pool."""
        for worker in WORKERS:
            self.heartbeat(router, WorkerReport(worker, self._epoch(worker), "ready", 2, 1_000, "v1", "worker:1", b""))
        loud = Submission(SESSIONS[0], "", 1, ServiceClass.DEFAULT, 50, 60_000, "loud", 0.005)
        self.submit_some(router, [loud] * 9)
        self.reap(router)
        self.submit_some(router, [replace(other, service_class=ServiceClass.DEFAULT) for other in others])
        self.some_end(router, ended, None)
        self.time_passes(5_000, all_well=True)
        self.reap(router)

    @rule(router=routers, submission=submissions)
    def submit(self, router: str, submission: Submission) -> None:
        reply, told = self._call(
            router,
            lambda scripts: scripts.submit(
                submission, self.class_rules, lease_ms=LEASE_MS, no_worker_grace_ms=GRACE_MS
            ),
        )
        answer = orjson.loads(reply)
        kind = self.model.submit(router, submission, self.class_rules, grants(told))
        assert answer["kind"] == kind
        self._check_events(told)
        if kind != "expired":  # charged and given back in one step; the answer tells the charge
            self._check_limits(submission, answer)
        if kind == "queue_full":
            assert answer["retry_after_ms"] == self.model.retry_after_ms(submission.service_class)

    @rule(router=routers, data=st.data())
    def submit_again(self, router: str, data: st.DataObject) -> None:
        """A gateway that reconnected, or that tries another worker."""
        if known := self._some_request(data):
            higher = data.draw(st.integers(0, 1))
            again = replace(known, attempt=known.attempt + higher, at_head=higher == 1)
            self.submit(router, again)

    @rule(router=routers, submission=submissions, worker=st.sampled_from(WORKERS), newer=mostly(0, 1))
    def report_running_work(self, router: str, submission: Submission, worker: str, newer: int) -> None:
        """A gateway says what a worker does for it while Redis knew nothing of that."""
        if submission.request_id not in self.model.requests:
            epoch = self._epoch(worker) + newer
            self.submit(router, replace(submission, running_on=worker, running_epoch=epoch))

    @rule(router=routers, data=st.data(), actual=st.sampled_from([None, 0, 50, 300]))
    def finish(self, router: str, data: st.DataObject, actual: int | None) -> None:
        if known := self._some_request(data):
            self.finish_one(router, known.request_id, known.attempt - data.draw(st.sampled_from([0, 0, 0, 1])), actual)

    @rule(router=routers, most=st.sampled_from([1, 2, 5, 20]), actual=st.sampled_from([None, 0, 100, 250]))
    def some_end(self, router: str, most: int, actual: int | None) -> None:
        """One after the other, those too that are granted meanwhile."""
        for _ in range(most):
            running = min((request_id for request_id, r in self.model.requests.items() if r.worker), default=None)
            if running:
                self.finish_one(router, running, self.model.requests[running].asked.attempt, actual)

    @rule(router=routers, data=st.data())
    def yield_what_was_asked_for(self, router: str, data: st.DataObject) -> None:
        asked = sorted(i for i, r in self.model.requests.items() if r.asked_to_yield)
        if asked:
            known = self.model.requests[data.draw(st.sampled_from(asked))].asked
            self.finish_one(router, known.request_id, known.attempt, None)
            self.submit(router, replace(known, attempt=known.attempt + 1, at_head=True, running_on=""))

    @rule(router=routers, sessions=st.sets(st.sampled_from(SESSIONS), min_size=1), create=st.booleans())
    def renew(self, router: str, sessions: set[str], create: bool) -> None:
        named = sorted(sessions)
        unknown = self.replicas.call(router, lambda s: s.renew(named, lease_ms=LEASE_MS, create=create))
        assert [raw.decode() for raw in unknown] == self.model.renew(router, named, create=create)

    @rule(data=st.data())
    def ask_how_it_stands(self, data: st.DataObject) -> None:
        if known := self._some_request(data):
            rows = self.replicas.call(ROUTERS[0], lambda scripts: scripts.queue_position([known.request_id]))
            request = self.model.requests[known.request_id]
            better = sum(len(self.model.queue(rank)) for rank in ServiceClass if rank < request.rank)
            before = [] if request.worker else [better + self.model.queue(request.rank).index(request)]
            assert [position for _, _, position, _ in rows] == before

    # ---- what workers do

    @rule(router=routers, report=reports, newer=st.sampled_from([0, 0, 0, 1, -1]))
    def heartbeat_of_any_kind(self, router: str, report: WorkerReport, newer: int) -> None:
        self.heartbeat(router, replace(report, epoch=self._epoch(report.worker_id) + newer))

    def heartbeat(self, router: str, report: WorkerReport) -> None:
        accepted, told = self._call(router, lambda s: s.heartbeat(report, self.class_rules, lease_ms=LEASE_MS))
        assert bool(accepted) == self.model.heartbeat(router, report, self.class_rules, grants(told))
        self._check_events(told)

    @rule(router=routers, worker=st.sampled_from(WORKERS), newer=mostly(0, 1), grace=st.sampled_from([0, 999]))
    def detach(self, router: str, worker: str, newer: int, grace: int) -> None:
        epoch = self._epoch(worker) + newer
        ours, told = self._call(router, lambda scripts: scripts.detach(worker, epoch, grace_ms=grace))
        assert bool(ours) == self.model.detach(router, worker, epoch, grace)
        self._check_events(told)

    # ---- what time and operators do

    @rule(ms=st.sampled_from([500, 1_000, 5_000]), all_well=mostly(True, False))
    def time_passes(self, ms: int, all_well: bool) -> None:
        """`all_well`: everybody is heard of at the end of it."""
        self.model.now += ms
        self.replicas.set_clock(int(self.model.now))
        if all_well:
            for session, (router, _) in sorted(self.model.sessions.items()):
                self.renew(router, {session}, create=False)
            for worker in list(self.model.workers.values()):
                if worker.report:
                    self.heartbeat(worker.router, replace(worker.report, state="ready"))

    @rule(router=routers)
    def reap(self, router: str) -> None:
        _, told = self._call(
            router, lambda scripts: scripts.reap(self.class_rules, limit=REAP_LIMIT, worker_lease_ms=LEASE_MS)
        )
        self.model.reap(self.class_rules, grants(told))
        self._check_events(told)

    @rule(service_class=st.sampled_from(ServiceClass), change=CHANGES)
    def change_rules(self, service_class: ServiceClass, change: pb.ClassPolicy) -> None:
        self.class_rules = self.class_rules.with_change(service_class, change)

    # ---- what must hold

    @invariant()
    def redis_holds_what_the_model_does(self) -> None:
        self._expire_limits()
        Stock(self.replicas.client, self.replicas.keys).check(self.model)

    def teardown(self) -> None:
        """All leave: nothing may be left but what is there for ever."""
        self.model.now += 10 * LEASE_MS
        self.replicas.set_clock(int(self.model.now))
        for _ in range(LAST_REAPS):
            self.reap(ROUTERS[0])
        self._expire_limits()
        assert not self.model.requests
        assert Stock(self.replicas.client, self.replicas.keys).keys - CONSTANT == set(), "keys left behind"

    # ---- steps that rules share

    def _call(self, router: str, build: Any) -> tuple[Any, list[tuple[str, Event]]]:
        answer, returned = self.replicas.call(router, build)
        return answer, self.replicas.events(router, returned)

    def finish_one(self, router: str, request_id: str, attempt: int, actual: int | None) -> None:
        expected, told = self._call(
            router, lambda scripts: scripts.finish(request_id, attempt, self.class_rules, actual_tokens=actual)
        )
        assert (expected >= 0) == self.model.finish(request_id, attempt, actual, self.class_rules, grants(told))
        self._check_events(told)

    def _epoch(self, worker_id: str) -> int:
        worker = self.model.workers.get(worker_id)
        return worker.epoch if worker else FIRST_EPOCH

    def _some_request(self, data: st.DataObject) -> Submission | None:
        known = sorted(self.model.requests)
        return self.model.requests[data.draw(st.sampled_from(known))].asked if known else None

    def _check_events(self, told: list[tuple[str, Event]]) -> None:
        """Every event, once, at the replica that its session is connected to; no grant but those in turn."""
        expected = [(self.model.sessions[event.session][0], event) for event in self.model.events]  # type: ignore[union-attr]
        assert sorted(told, key=repr) == sorted(expected, key=repr)
        for _, event in told:
            if isinstance(event, Granted):
                request = self.model.requests[event.request_id]
                assert event.queue_wait_ms == self.model.now - request.submitted
                assert event.service_class == request.rank

    def _check_limits(self, submission: Submission, answer: dict[str, Any]) -> None:
        assert [state["name"] for state in answer.get("limits", [])] == [limit.name for limit in submission.limits]
        for limit, state in zip(submission.limits, answer.get("limits", []), strict=True):
            budget = self.model.budgets.get(limit.name, Budget())
            assert state["requests_remaining"] == budget.requests_left(self.model.now, limit)
            assert state["tokens_remaining"] == budget.tokens_left(self.model.now, limit)

    def _expire_limits(self) -> None:
        """Redis expires keys by its own clock; here the simulated one does it."""
        client, root = self.replicas.client, self.replicas.keys.root
        for name, budget in self.model.budgets.items():
            key = f"{root}limit:{name}"
            client.delete(key) if budget.is_whole(self.model.now) else client.persist(key)


@pytest.fixture(scope="module", params=programs(), ids=lambda program: Path(program).name)
def client(request: pytest.FixtureRequest) -> Iterator[redis.Redis]:
    with running(request.param) as server:
        yield server.client


@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("policy", "overtaking", "burst_tokens", "isolation"),
    [("prefix", 0, 0, 0.0), ("least_load", 0, 150, 0.4), ("prefix", 2, 0, 0.4), ("prefix", 0, 0, 0.8)],
)
def test_the_scripts_do_as_the_model(
    client: redis.Redis, policy: str, overtaking: int, burst_tokens: int, isolation: float
) -> None:
    chosen = settings.get_profile(settings.get_current_profile_name())
    some = settings(chosen, max_examples=chosen.max_examples // 5)
    build: Any = partial(RouterQueue, client, policy, overtaking, burst_tokens, isolation)
    run_state_machine_as_test(build, settings=some)


def test_the_head_of_a_long_queue_is_bypassed_as_often_as_allowed(client: redis.Redis) -> None:
    queue, router = RouterQueue(client, "prefix", overtaking=2), ROUTERS[0]
    queue.a_worker_is_there(router, slots=1)

    def submit(request_id: str, tenant: str, weight: float, hashes: tuple[str, ...]) -> None:
        asked = Submission(SESSIONS[0], request_id, 1, ServiceClass.DEFAULT, 100, 60_000, tenant, weight)
        queue.submit(router, replace(asked, prompt_tokens=100, prefix_hashes=hashes))

    submit("running", "quiet", 1.0, ("a.50", "b.50"))
    for n in range(3):
        submit(f"loud-{n}", "loud", 0.01, ())
    for n in range(4):
        submit(f"quiet-{n}", "quiet", 1.0, ("a.50", "b.50"))
    order = []
    for _ in range(5):
        running = next(request_id for request_id, r in queue.model.requests.items() if r.worker)
        queue.finish_one(router, running, 1, None)
        queue.redis_holds_what_the_model_does()
        order += [request_id for request_id, r in queue.model.requests.items() if r.worker]
    queue.teardown()
    assert order == ["quiet-0", "quiet-1", "loud-0", "quiet-2", "quiet-3"]
