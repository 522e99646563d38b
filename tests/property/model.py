"""The router's queue as plain Python: what the scripts promise, without Redis and without optimisation.

Every method does what one script call does, and returns the events that gateways must hear of. Which of several workers
that fit is chosen is the placement policy's to say: the model takes it from the grants that were observed, and insists
on everything else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from math import ceil, exp, floor, inf

from services.router.core.class_rules import ClassRules, Rules
from services.router.core.events import Displaced, Event, Expired, Granted, Preempted, Revoked
from services.router.redis.scripts import Limit, Submission, WorkerReport
from services.shared.classes import ServiceClass
from tests.property.budgets import Budget

HEAD = -4503599627370496.0
PASSED_OVER = 8
GRANTS = 64
AGING_ONE_IN = 10
LOOKED_AT_RUNNING = 8
PRESSED = 0.95
PACE_WEIGHT = 0.05
NEAR = 32_768
BACKLOG = 16_384
QUEUE_SHARE = 0.25
AVERAGED_OVER_MS = 10_000
SLACK = 1

Grants = dict[tuple[str, int], Granted]


class Wrong(AssertionError):
    """The scripts did something that the model forbids."""


@dataclass(slots=True)
class Request:
    asked: Submission
    arrival: int
    submitted: float
    deadline: float = 0.0
    objective: float = 0.0
    tag: float = 0.0
    worker: str | None = None
    granted_at: float = 0.0
    asked_to_yield: bool = False
    waits_for_isolation_pool: bool = False
    sheltered: bool = False

    @property
    def rank(self) -> ServiceClass:
        return self.asked.service_class

    @property
    def cost(self) -> int:
        return self.asked.tokens


@dataclass(slots=True)
class Worker:
    """One worker. `report` is None for one that only a gateway has reported and that has not attached yet."""

    lease_end: float
    epoch: int
    quiet_at: float = inf
    report: WorkerReport | None = None
    router: str = ""
    state: str = ""
    counted: int = 0
    held: set[str] = field(default_factory=set)

    @property
    def pressed(self) -> bool:
        report = self.report
        return report is not None and report.waiting > 0 and report.kv_tokens_used >= PRESSED * report.kv_tokens

    @property
    def free(self) -> bool:
        if self.report is None or self.state != "ready":
            return False
        return len(self.held) < self.report.slots and not (self.pressed and self.held)


@dataclass(slots=True)
class Lane:
    """One class: its tenants' tags and its virtual time."""

    virtual: float = 0.0
    bypassed: int = 0
    since: float | None = None
    ends: dict[str, float] = field(default_factory=dict)


class Model:
    def __init__(
        self,
        now: float,
        *,
        session_lease_ms: int,
        worker_lease_ms: int,
        no_worker_grace_ms: int,
        overtaking: int = 0,
        burst_tokens: int = 0,
        isolation: float = 0.0,
    ) -> None:
        self.now, self._overtaking, self._burst_tokens = now, overtaking, burst_tokens
        self._isolation = isolation
        self.session_lease_ms, self.worker_lease_ms = session_lease_ms, worker_lease_ms
        self.no_worker_grace_ms = no_worker_grace_ms
        self.requests: dict[str, Request] = {}
        self.workers: dict[str, Worker] = {}
        self.sessions: dict[str, tuple[str, float]] = {}
        self.lanes = {c: Lane() for c in ServiceClass}
        self.budgets: dict[str, Budget] = {}
        self.pace: float | None = None
        self.last: float | None = None
        self.credit = 0
        self.seen: float | None = None
        self.noisy_tenants: set[str] = set()
        self.isolation_pool: dict[str, float] = {}
        self._average = 0.0
        self._average_at: float | None = None
        self.events: list[Event] = []
        self._arrivals = count(1)
        self._observed: Grants = {}
        self._nobody_waited = self._at_once = False

    # ---- the scripts

    def submit(self, router: str, s: Submission, rules: Rules, observed: Grants) -> str:
        """Returns the kind of the answer."""
        self._begin(observed)
        self.sessions[s.session] = (router, self.now + self.session_lease_ms)
        known = self.requests.get(s.request_id)
        self._nobody_waited = not any(self.queue(rank) for rank in ServiceClass)
        self._at_once = not known and self._nobody_waited and rules.of(s.service_class).max_queued > 0
        if known and known.asked.attempt >= s.attempt:
            return self._state(s.request_id) if known.asked.attempt == s.attempt else "stale"
        if known:
            self._release(s.request_id)
        if s.running_on:
            return self._adopt(s)
        if not s.at_head and (refused := self._refusal(s, rules)):
            return refused
        if self._has_no_workers():
            return "no_workers"
        if not s.at_head:
            self._charge(s)
        self._enqueue(s, rules)
        self._grant_ready(rules)
        if s.request_id not in self.requests:
            return "expired"
        self._preempt(s.service_class, rules)
        return self._state(s.request_id)

    def finish(self, request_id: str, attempt: int, actual: int | None, rules: Rules, observed: Grants) -> bool:
        self._begin(observed)
        known = self.requests.get(request_id)
        ended = known is not None and known.asked.attempt == attempt
        if ended:
            self._release(request_id, actual)
        self._grant_ready(rules)
        return ended

    def heartbeat(self, router: str, report: WorkerReport, rules: Rules, observed: Grants) -> bool:
        self._begin(observed)
        worker = self.workers.get(report.worker_id)
        if worker and worker.epoch > report.epoch:
            return False
        if worker is None:
            worker = self.workers[report.worker_id] = Worker(0.0, report.epoch)
        if worker.epoch != report.epoch:
            self._revoke_all(report.worker_id, "restarted")
        if report.state == "stuck":
            self._revoke_all(report.worker_id, "stuck")
        worker.epoch, worker.report, worker.router, worker.state = report.epoch, report, router, report.state
        worker.counted = report.slots if report.state == "ready" else 0
        worker.lease_end = self.now + self.worker_lease_ms
        worker.quiet_at = self.now + self.worker_lease_ms / 2
        self.seen = self.now
        self._grant_ready(rules)
        return True

    def detach(self, router: str, worker_id: str, epoch: int, grace_ms: int) -> bool:
        self._begin({})
        worker = self.workers.get(worker_id)
        if worker is None or worker.router != router or worker.epoch != epoch:
            return False
        worker.state, worker.counted = "detached", 0
        worker.lease_end = min(worker.lease_end, self.now + grace_ms)
        return True

    def renew(self, router: str, sessions: list[str], *, create: bool) -> list[str]:
        unknown = []
        for session in sessions:
            if create or self.sessions.get(session, ("", 0.0))[0] == router:
                self.sessions[session] = (router, self.now + self.session_lease_ms)
            else:
                unknown.append(session)
        return unknown

    def reap(self, rules: Rules, observed: Grants) -> None:
        self._begin(observed)
        lost = [worker_id for worker_id, worker in self.workers.items() if worker.lease_end <= self.now]
        late = [request_id for request_id, r in self.requests.items() if not r.worker and r.deadline <= self.now]
        for session in [s for s, (_, lease_end) in self.sessions.items() if lease_end <= self.now]:
            self._reap_session(session)
        for worker_id in lost:
            self._revoke_all(worker_id, "lost")
            del self.workers[worker_id]
        for worker in self.workers.values():
            self._take_unbegun(worker)
        self._resize_isolation_pool(rules)
        for request_id in late:
            if request_id in self.requests:
                self._expire(request_id)
        self._grant_ready(rules)
        for rank in ServiceClass:
            self._clear_tags(rank)
            self._preempt(rank, rules)

    # ---- queries

    def queue(self, rank: ServiceClass) -> list[Request]:
        """The requests that wait, in the order in which they go."""
        waiting = [r for r in self.requests.values() if r.rank == rank and not r.worker]
        return sorted(waiting, key=lambda r: (r.tag, r.arrival))

    def running(self, rank: ServiceClass) -> list[Request]:
        return [r for r in self.requests.values() if r.rank == rank and r.worker]

    def ready(self) -> list[str]:
        return [worker_id for worker_id, worker in self.workers.items() if worker.state == "ready"]

    def reserved(self, worker_id: str) -> int:
        return sum(self.requests[request_id].cost for request_id in self.workers[worker_id].held)

    def free(self) -> list[str]:
        return [worker_id for worker_id, worker in self.workers.items() if worker.free]

    def open(self, limit: str) -> set[str]:
        return {i for i, r in self.requests.items() if limit in (limit.name for limit in r.asked.limits)}

    def owned(self, session: str) -> set[str]:
        return {i for i, r in self.requests.items() if r.asked.session == session}

    # ---- steps that scripts share

    def _begin(self, observed: Grants) -> None:
        self.events, self._observed = [], dict(observed)
        self._at_once = False

    def _emit(self, event: Event) -> None:
        """Events of a session that is gone are dropped."""
        if getattr(event, "session", None) in self.sessions:
            self.events.append(event)

    def _state(self, request_id: str) -> str:
        return "grant" if self.requests[request_id].worker else "queued"

    def _adopt(self, s: Submission) -> str:
        worker = self.workers.get(s.running_on)
        if worker and worker.epoch != s.running_epoch:
            return "revoke"
        if worker is None:
            worker = Worker(self.now + self.session_lease_ms, s.running_epoch)
            self.workers[s.running_on] = worker
        self.requests[s.request_id] = Request(
            s, next(self._arrivals), self.now, worker=s.running_on, granted_at=self.now
        )
        worker.held.add(s.request_id)
        return "grant"

    def _refusal(self, s: Submission, rules: Rules) -> str | None:
        for limit in s.limits:
            if self._wait(limit, s) != 0:
                return "limited"
        of_class, waiting = rules.of(s.service_class), self.queue(s.service_class)
        tokens = sum(r.cost for r in waiting)
        if not _is_full(of_class, len(waiting), tokens + s.tokens) or self._displace(s, of_class, waiting, tokens):
            return None
        return "queue_full"

    def _displace(self, s: Submission, of_class: ClassRules, waiting: list[Request], tokens: int) -> bool:
        """Refuses the last request in place of the new one."""
        last = waiting[-1] if waiting else None
        if last is None or self._next_start(s) >= last.tag or last.asked.tenant == s.tenant:
            return False
        if _is_full(of_class, len(waiting) - 1, tokens - last.cost + s.tokens):
            return False
        retry_after_ms = self.retry_after_ms(s.service_class)
        self._release(last.asked.request_id, 0)
        self._emit(Displaced(last.asked.session, last.asked.request_id, last.asked.attempt, retry_after_ms))
        return True

    def _wait(self, limit: Limit, s: Submission) -> float | None:
        """Time until a limit lets the request through; None: it never does."""
        wait = self.budgets.get(limit.name, Budget()).wait(self.now, limit, s.tokens)
        if wait is not None and limit.concurrency and len(self.open(limit.name)) >= limit.concurrency:
            return max(wait, 1000)
        return wait

    def _charge(self, s: Submission) -> None:
        for limit in s.limits:
            if limit.requests_per_minute or limit.tokens_per_minute:
                self.budgets[limit.name] = self.budgets.get(limit.name, Budget()).charged(self.now, limit, s.tokens)

    def _has_no_workers(self) -> bool:
        if self.seen is None:
            self.seen = self.now
        return not self.workers and self.seen + self.no_worker_grace_ms < self.now

    def _enqueue(self, s: Submission, rules: Rules) -> None:
        lane = self.lanes[s.service_class]
        if not self.queue(s.service_class):
            lane.since = self.now
        objective = s.objective_ms or rules.of(s.service_class).ttft_objective_ms
        request = Request(s, next(self._arrivals), self.now, self.now + s.give_up_after_ms, objective)
        request.tag = HEAD if s.at_head else self._next_start(s)
        if not s.at_head:
            request.waits_for_isolation_pool = not self._nobody_waited and self._counts_for_isolation(request, rules)
            lane.ends[s.tenant] = max(lane.virtual, lane.ends.get(s.tenant, 0.0)) + s.tokens / s.weight
        self.requests[s.request_id] = request

    def _next_start(self, s: Submission) -> float:
        lane = self.lanes[s.service_class]
        return max(lane.virtual, lane.ends.get(s.tenant, 0.0) - self._burst_tokens)

    def _release(self, request_id: str, actual: int | None = None) -> None:
        request = self.requests.pop(request_id)
        if request.worker:
            self.workers[request.worker].held.discard(request_id)
        difference = 0 if actual is None else actual - request.cost
        ends = self.lanes[request.rank].ends
        if request.asked.tenant in ends:
            ends[request.asked.tenant] += difference / request.asked.weight
        for limit in request.asked.limits:
            if difference and limit.tokens_per_minute:
                budget = self.budgets.get(limit.name, Budget())
                self.budgets[limit.name] = budget.corrected(self.now, limit, difference)

    def _expire(self, request_id: str) -> None:
        asked = self.requests[request_id].asked
        self._release(request_id, 0)
        self._emit(Expired(asked.session, request_id, asked.attempt))

    def _revoke_all(self, worker_id: str, reason: str) -> None:
        for request_id in sorted(self.workers[worker_id].held):
            self._revoke(request_id, reason)

    def _take_unbegun(self, worker: Worker) -> None:
        heard_at = worker.quiet_at - self.worker_lease_ms / 2
        if self.now >= worker.quiet_at:
            for request_id in sorted(r for r in worker.held if self.requests[r].granted_at >= heard_at):
                self._revoke(request_id, "lost")

    def _revoke(self, request_id: str, reason: str) -> None:
        asked = self.requests[request_id].asked
        self._release(request_id)
        self._emit(Revoked(asked.session, request_id, asked.attempt, reason))

    def _reap_session(self, session: str) -> None:
        for request_id in self.owned(session):
            self._release(request_id)
        del self.sessions[session]

    def _clear_tags(self, rank: ServiceClass) -> None:
        lane = self.lanes[rank]
        idle = not self.queue(rank) and not self.running(rank)
        past = inf if idle else lane.virtual
        lane.ends = {tenant: ends for tenant, ends in lane.ends.items() if ends > past}
        if idle:
            lane.virtual = 0.0

    # ---- granting

    def _grant_ready(self, rules: Rules) -> None:
        left = GRANTS
        for rank in ServiceClass:
            left = self._grant_class(rank, left, rules)
            if left == 0:
                return

    def _grant_class(self, rank: ServiceClass, left: int, rules: Rules) -> int:
        passed = 0
        while passed < PASSED_OVER and left > 0 and len(self.queue(rank)) > passed:
            if self._candidates(self.queue(rank)[passed], rules):
                result = self._turn(rank, passed, rules)
            else:
                result = self._serve_isolation_pool(rank, rules) if self.free() else "none"
            left -= 1
            if result == "none":
                return left
            if result == "full":
                return 0
            passed += result == "passed"
        return left

    def _turn(self, rank: ServiceClass, passed: int, rules: Rules) -> str:
        aged = self._aged_below(rank, rules)
        if aged is not None and self.credit >= AGING_ONE_IN - 1 and self._serve(aged, 0, rules, own=False) == "granted":
            self.credit = 0
            return "granted"
        result = self._serve(rank, passed, rules, own=True)
        self.credit += aged is not None and result == "granted"
        return result

    def _aged_below(self, rank: ServiceClass, rules: Rules) -> ServiceClass | None:
        aged, oldest = None, inf
        for worse in list(ServiceClass)[rank + 1 :]:
            ageing, since = rules.of(worse).ageing_ms, self.lanes[worse].since
            if ageing and self.queue(worse) and since is not None and since + ageing <= self.now and since < oldest:
                aged, oldest = worse, since
        return aged

    def _serve(self, rank: ServiceClass, passed: int, rules: Rules, *, own: bool) -> str:
        request = self.queue(rank)[passed]
        if request.deadline <= self.now:
            self._expire(request.asked.request_id)
            return "gone"
        fits = self._fits(request, rules)
        if "fits" in fits.values():
            bypassing = self._bypassing(request) if own and passed == 0 else None
            if passed == 0:
                self.lanes[rank].bypassed = self.lanes[rank].bypassed + 1 if bypassing else 0
            if bypassing:
                self._grant(bypassing, request.tag - 1, rules, own=own)
            else:
                self._grant(request, request.tag, rules, own=own)
            return "granted"
        return "full" if "full" in fits.values() or not fits else "passed"

    def _serve_isolation_pool(self, rank: ServiceClass, rules: Rules) -> str:
        """Grants the first request that came while a tenant was noisy and that the pool is open to."""
        request = next((r for r in self.queue(rank) if r.waits_for_isolation_pool), None)
        if request is None:
            return "none"
        if request.deadline <= self.now:
            self._expire(request.asked.request_id)
            return "gone"
        denied = self._is_denied(request, rules)
        fits = {} if denied else self._fits(request, rules)
        if "fits" in fits.values():
            self._grant(request, self.lanes[rank].virtual, rules, own=True)
            return "granted"
        if not denied and "full" in fits.values():
            return "full"
        request.waits_for_isolation_pool = False
        return "gone"

    def _bypassing(self, head: Request) -> Request | None:
        """The request that bypassed the head, if that was allowed."""
        told = next(iter(self._observed.values()), None)
        if told is None or told.expected_cached_tokens == 0 or told.request_id == head.asked.request_id:
            return None
        other = next((r for r in self.queue(head.rank) if r.asked.request_id == told.request_id), None)
        lane = self.lanes[head.rank]
        backlog = lane.ends.get(head.asked.tenant, 0.0) - head.tag
        allowed = head.tag >= 0 and backlog >= BACKLOG and lane.bypassed < self._overtaking
        return other if allowed and other and other.tag <= head.tag + NEAR else None

    def _is_denied(self, request: Request, rules: Rules) -> bool:
        return self._is_isolating() and (
            rules.of(request.rank).preemptible or request.asked.tenant in self.noisy_tenants
        )

    def _counts_for_isolation(self, request: Request, rules: Rules) -> bool:
        return self._is_isolating() and not self._is_denied(request, rules)

    def _is_isolating(self) -> bool:
        """A request that finds an empty queue is granted as if no tenant were noisy."""
        return bool(self.noisy_tenants) and not self._at_once

    def _candidates(self, request: Request, rules: Rules) -> list[str]:
        denied = self._is_denied(request, rules)
        return [worker_id for worker_id in self.free() if not (denied and worker_id in self.isolation_pool)]

    def _fits(self, request: Request, rules: Rules) -> dict[str, str]:
        """How each free worker fits the request; workers of the isolation pool too if no other worker ever would."""
        fits = {worker_id: self._fit(worker_id, request) for worker_id in self._candidates(request, rules)}
        if "fits" not in fits.values() and self._is_denied(request, rules):
            outside = [worker_id for worker_id in self.ready() if worker_id not in self.isolation_pool]
            if self._has_needs(request) and all(self._fit(w, request) == "unsuitable" for w in outside):
                return {worker_id: self._fit(worker_id, request) for worker_id in self.free()}
        return fits

    def _has_needs(self, request: Request) -> bool:
        asked = request.asked
        return bool(asked.excluded_workers or asked.model_version or asked.adapter)

    def _fit(self, worker_id: str, request: Request) -> str:
        worker, asked = self.workers[worker_id], request.asked
        report = worker.report
        assert report is not None
        excluded = worker_id in asked.excluded_workers and len(asked.excluded_workers) < len(self.workers)
        other_version = asked.model_version not in ("", report.model_version)
        if (
            self.now >= worker.quiet_at
            or excluded
            or other_version
            or (asked.adapter and asked.adapter not in report.adapters)
        ):
            return "unsuitable"
        room = report.kv_tokens - max(self.reserved(worker_id), report.kv_tokens_used)
        return "full" if request.cost > room and worker.held else "fits"

    def _grant(self, request: Request, tag: float, rules: Rules, *, own: bool) -> None:
        """`tag`: what virtual time moves to: the request's own tag, or just before the head's for a bypass."""
        fitting = [worker_id for worker_id, how in self._fits(request, rules).items() if how == "fits"]
        name = (request.asked.request_id, request.asked.attempt)
        grant = self._observed.pop(name, None)
        if grant is None:
            raise Wrong(f"{name} was not granted, though it is its turn and {fitting} have room")
        if grant.worker_id not in fitting:
            raise Wrong(f"{name} was granted to {grant.worker_id}; only {fitting} fit it")
        within = request.tag <= self.lanes[request.rank].virtual
        request.sheltered = within and self._counts_for_isolation(request, rules)
        request.worker, request.granted_at = grant.worker_id, self.now
        self.workers[grant.worker_id].held.add(name[0])
        self._take_turn(self.lanes[request.rank], request.rank, tag, own=own)
        self._emit(grant)

    def _take_turn(self, lane: Lane, rank: ServiceClass, tag: float, *, own: bool) -> None:
        if self.last is not None and self.queue(rank):
            gap = self.now - max(self.last, lane.since or 0)
            pace = gap if self.pace is None else self.pace + PACE_WEIGHT * (gap - self.pace)
            self.pace = float(f"{pace:.6g}")
        lane.virtual = max(lane.virtual, tag)
        lane.since = self.now if own else lane.since
        self.last = self.now

    # ---- the isolation pool

    def _resize_isolation_pool(self, rules: Rules) -> None:
        self.noisy_tenants = {tenant for rank in ServiceClass for tenant in self._noisy(rank, rules)}
        sheltered = sum(r.sheltered for r in self.requests.values())
        since_ms = self.now - (self.now if self._average_at is None else self._average_at)
        average = self._average + (sheltered - self._average) * (1 - exp(-since_ms / AVERAGED_OVER_MS))
        self._average, self._average_at = float(f"{average:.6g}"), self.now
        self._resize(self._size_for(average) if self.noisy_tenants else 0)

    def _noisy(self, rank: ServiceClass, rules: Rules) -> list[str]:
        if not self._isolation or rules.of(rank).preemptible or not self.queue(rank):
            return []
        lane, waiting = self.lanes[rank], sum(r.cost for r in self.queue(rank))
        least = lane.virtual + self._burst_tokens + max(BACKLOG, QUEUE_SHARE * waiting)
        return [tenant for tenant, ends in lane.ends.items() if ends >= least]

    def _size_for(self, average: float) -> int:
        ready, slots = len(self.ready()), sum(worker.counted for worker in self.workers.values())
        if ready < 2:
            return 0
        wanted = average * ready / (self._isolation * slots)
        if len(self.isolation_pool) - SLACK < wanted < len(self.isolation_pool):
            wanted = len(self.isolation_pool)
        return min(floor(wanted), ready - 1)

    def _resize(self, size: int) -> None:
        """Workers that joined last leave first; then by id."""
        for worker_id in sorted(self.isolation_pool, key=lambda w: (self.isolation_pool[w], w), reverse=True):
            if len(self.isolation_pool) > size or worker_id not in self.ready():
                del self.isolation_pool[worker_id]
        for worker_id in sorted(self.ready()):
            if len(self.isolation_pool) < size:
                self.isolation_pool.setdefault(worker_id, self.now)

    # ---- preemption

    def _preempt(self, rank: ServiceClass, rules: Rules) -> None:
        if not rules.of(rank).preempts:
            return
        asked = sum(r.asked_to_yield for r in self.requests.values())
        for _ in range(asked, self._in_danger(rank)):
            victim = next(self._victims(rank, rules), None)
            if victim is None:
                return
            victim.asked_to_yield = True
            self._emit(Preempted(victim.asked.session, victim.asked.request_id, victim.asked.attempt))

    def _in_danger(self, rank: ServiceClass) -> int:
        waiting = self.queue(rank)[:LOOKED_AT_RUNNING]
        pace = self.pace or 0
        return sum(self.now - r.submitted + i * pace > r.objective for i, r in enumerate(waiting, 1))

    def _victims(self, rank: ServiceClass, rules: Rules) -> Iterator[Request]:
        """The worst class first; in it, of the latest requests, the one that was preempted least often."""
        for worse in reversed(list(ServiceClass)[rank + 1 :]):
            if not rules.of(worse).preemptible:
                continue
            latest = sorted(self.running(worse), key=lambda r: (r.granted_at, r.asked.request_id), reverse=True)
            open_to_it = [r for r in latest[:LOOKED_AT_RUNNING] if not r.asked_to_yield]
            if open_to_it:
                yield min(open_to_it, key=lambda r: r.asked.attempt)

    def retry_after_ms(self, rank: ServiceClass) -> int:
        """The time in which half of a full queue goes."""
        return ceil(max(1, len(self.queue(rank)) / 2) * (self.pace or 0))


def _is_full(of_class: ClassRules, waiting: int, tokens: int) -> bool:
    """`tokens`: of all that waits and of the new request."""
    return waiting >= of_class.max_queued or (waiting > 0 and tokens > of_class.max_queued_tokens)
