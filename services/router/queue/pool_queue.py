"""The shared queue of one pool as this replica uses it: a method is a script call; events go to the switchboard."""

from collections.abc import Sequence

from services.router.core.class_rules import Rules
from services.router.core.events import Answer, Granted, Queued, Refused, Revoked, decode_answer, decode_event
from services.router.core.keys import PoolKeys
from services.router.metrics import RouterMetrics
from services.router.queue.resume_log import PoolResumeLogs
from services.router.queue.sessions import Sessions
from services.router.redis.script_runner import ScriptRunner
from services.router.redis.scripts import Composition, PoolScripts, Submission, WorkerReport
from services.router.settings import RouterSettings
from services.shared.config import Cluster, Journal

REAP_LIMIT = 64


class PoolQueue:
    """Every method raises StoreUnavailable when Redis does not answer; every one is safe to repeat."""

    def __init__(
        self,
        pool: str,
        router_id: str,
        *,
        store: ScriptRunner,
        settings: RouterSettings,
        cluster: Cluster,
        switchboard: Sessions,
        metrics: RouterMetrics,
    ) -> None:
        self.pool = pool
        self.keys = PoolKeys(pool)
        self.rules = Rules.of_cluster(cluster)
        self._scripts = PoolScripts(self.keys, router_id, Composition.of_pool(cluster.pool(pool)))
        self._store = store
        self._settings = settings
        self._switchboard = switchboard
        self._metrics = metrics

    def journal(self, bounds: Journal) -> PoolResumeLogs:
        return PoolResumeLogs(self.keys, self._scripts, bounds, self._store)

    async def submit(self, submission: Submission) -> Answer:
        call = self._scripts.submit(
            submission,
            self.rules,
            lease_ms=self._settings.session_lease_ms,
            no_worker_grace_ms=self._settings.no_worker_grace_ms,
        )
        reply, events = await self._store.call(call)
        answer = decode_answer(reply, submission.session, submission.request_id, submission.attempt)
        self._metrics.requests.answers[self.pool, submission.service_class.label, _label(answer)].inc()
        # The script reports the request's own grant as an event too, mostly in the same words. The answer is for both.
        if isinstance(answer, Granted) and reply in events:
            self._count_wait(answer)
            events.remove(reply)
        self.deliver(events, besides=submission.request_id)
        return answer

    async def finish(self, request_id: str, attempt: int, *, actual_tokens: int | None) -> int | None:
        """Prompt tokens that were expected to be cached; None when there was nothing to end.

        `actual_tokens`: what it really cost; None when it will be submitted again.
        """
        call = self._scripts.finish(request_id, attempt, self.rules, actual_tokens=actual_tokens)
        expected, events = await self._store.call(call)
        self.deliver(events)
        return int(expected) if expected >= 0 else None

    async def outlook(self, request_ids: list[str]) -> list[tuple[str, int, Queued]]:
        """Id, attempt and standing of each that waits."""
        rows = await self._store.call(self._scripts.queue_position(request_ids))
        return [(name.decode(), attempt, Queued(position, wait_ms)) for name, attempt, position, wait_ms in rows]

    async def heartbeat(self, report: WorkerReport) -> bool:
        """False when the worker's epoch is an old one."""
        call = self._scripts.heartbeat(report, self.rules, lease_ms=self._settings.worker_lease_ms)
        accepted, events = await self._store.call(call)
        self.deliver(events)
        return bool(accepted)

    async def detach(self, worker_id: str, epoch: int, *, goodbye: bool) -> None:
        grace_ms = 0 if goodbye else self._settings.detach_grace_ms
        await self._store.call(self._scripts.detach(worker_id, epoch, grace_ms=grace_ms))

    async def open_session(self, session_id: str, held: frozenset[str]) -> None:
        """`held`: what the gateway still wants; anything else that its session has here is ended."""
        await self._store.call(self._scripts.renew([session_id], lease_ms=self._settings.session_lease_ms, create=True))
        for request_id, attempt in await self._store.owned(self.keys, session_id):
            if request_id not in held:
                await self.finish(request_id, attempt, actual_tokens=None)

    async def renew(self, session_ids: list[str]) -> list[str]:
        """Ids of the sessions that Redis does not know."""
        call = self._scripts.renew(session_ids, lease_ms=self._settings.session_lease_ms)
        return [unknown.decode() for unknown in await self._store.call(call)]

    async def let_lapse(self, session_id: str, grace_ms: int) -> None:
        """Ends the session's lease after `grace_ms`, unless its gateway has come back by then, here or elsewhere."""
        lease_ms = min(grace_ms, self._settings.session_lease_ms)
        await self._store.call(self._scripts.renew([session_id], lease_ms=lease_ms))

    async def reap(self) -> None:
        lease_ms = self._settings.worker_lease_ms
        spare_ms = max(self._settings.session_lease_ms, lease_ms)
        call = self._scripts.reap(self.rules, limit=REAP_LIMIT, worker_lease_ms=lease_ms, spare_ms=spare_ms)
        counts, events = await self._store.call(call)
        for kind, count in zip(("sessions", "workers", "requests"), counts, strict=True):
            self._metrics.queues.reaped.labels(self.pool, kind).inc(count)
        self.deliver(events)

    async def replace_record(self, which: str, revision: int, fields: dict[str, str]) -> bool:
        """`which`: rollout or rules. False when `revision` is not the one that is there."""
        return bool(await self._store.call(self._scripts.replace_record(which, revision, fields)))

    def deliver(self, events: Sequence[bytes], besides: str = "") -> None:
        """Events of this pool, from a script of this replica or of another."""
        for document in events:
            event = decode_event(document)
            if isinstance(event, Granted):
                self._count_wait(event)
            if getattr(event, "request_id", None) != besides:
                self._switchboard.deliver(event)

    def _count_wait(self, granted: Granted) -> None:
        self._metrics.requests.waits[self.pool, granted.service_class.label].observe(granted.waited_ms / 1000)


def _label(answer: Answer) -> str:
    match answer:
        case Granted():
            return "granted"
        case Queued():
            return "queued"
        case Revoked():
            return "revoked"
        case Refused():
            return answer.kind
