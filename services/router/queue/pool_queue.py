"""The shared queue of one pool: each method calls a script and delivers the events that it returns."""

import logging
from collections.abc import Sequence

from services.router.core.class_rules import Rules
from services.router.core.events import Answer, Granted, Queued, Refused, Revoked, decode_answer, decode_event
from services.router.core.keys import PoolKeys
from services.router.core.sizing import Sizing
from services.router.metrics import RouterMetrics
from services.router.queue.resume_log import PoolResumeLogs
from services.router.queue.sessions import Sessions
from services.router.redis.script_runner import ScriptRunner
from services.router.redis.scripts import Composition, PoolScripts, Submission, WorkerReport
from services.router.settings import RouterSettings
from services.shared.config import Cluster, ResumeLog

log = logging.getLogger(__name__)

REAP_LIMIT = 64
HISTORY_KEPT = 1_000
"""Entries of the history of rollouts that Redis keeps of a pool; about 20 of them are one canary."""
FOR_EVER_MS = 2**52
"""Still exact as a number of Lua."""


class PoolQueue:
    """The queue of one pool as this replica uses it.

    Every method may be repeated without harm, and raises RedisUnavailable when Redis does not answer.

    Attributes:
        pool: Name of the pool.
        keys: Its keys in Redis.
        rules: Its class rules now, with the changes made at run time.
        sizing: What its number of workers follows from.
    """

    def __init__(
        self,
        pool: str,
        router_id: str,
        *,
        runner: ScriptRunner,
        settings: RouterSettings,
        cluster: Cluster,
        sessions: Sessions,
        metrics: RouterMetrics,
    ) -> None:
        self.pool = pool
        self.keys = PoolKeys(pool)
        self.rules = Rules.of_cluster(cluster)
        self.sizing = Sizing.of_pool(cluster.pool(pool))
        self._scripts = PoolScripts(self.keys, router_id, Composition.of_pool(cluster.pool(pool)))
        self._runner = runner
        self._settings = settings
        self._sessions = sessions
        self._metrics = metrics

    def resume_logs(self, bounds: ResumeLog) -> PoolResumeLogs:
        """The resume logs of the pool."""
        return PoolResumeLogs(self.keys, self._scripts, bounds, self._runner)

    async def submit(self, submission: Submission) -> Answer:
        """Queues or grants a request."""
        call = self._scripts.submit(
            submission,
            self.rules,
            lease_ms=self._settings.session_lease_ms,
            no_worker_grace_ms=self._settings.no_worker_grace_ms if self.sizing.fewest else FOR_EVER_MS,
        )
        reply, events = await self._runner.call(call)
        answer = decode_answer(reply, submission.session, submission.request_id, submission.attempt)
        self._metrics.requests.answers[self.pool, submission.service_class.label, _label(answer)].inc()
        # The script reports the request's own grant as an event too, usually with the same bytes. The answer is both.
        if isinstance(answer, Granted) and reply in events:
            self._count_wait(answer)
            events.remove(reply)
        self.deliver(events, besides=submission.request_id)
        return answer

    async def finish(self, request_id: str, attempt: int, *, actual_tokens: int | None) -> int | None:
        """Ends a request.

        Args:
            request_id: The request.
            attempt: The attempt that ended.
            actual_tokens: What it really cost; None when it will be submitted again.

        Returns:
            Prompt tokens that were expected to be cached; None when there was nothing to end.
        """
        call = self._scripts.finish(request_id, attempt, self.rules, actual_tokens=actual_tokens)
        expected, events = await self._runner.call(call)
        self.deliver(events)
        return int(expected) if expected >= 0 else None

    async def positions(self, request_ids: list[str]) -> list[tuple[str, int, Queued]]:
        """Request id, attempt and position of each of these requests that waits."""
        rows = await self._runner.call(self._scripts.queue_position(request_ids))
        return [(name.decode(), attempt, Queued(position, wait_ms)) for name, attempt, position, wait_ms in rows]

    async def heartbeat(self, report: WorkerReport) -> bool:
        """Stores a heartbeat. Returns False when the worker's process was started again since (an old epoch)."""
        call = self._scripts.heartbeat(report, self.rules, lease_ms=self._settings.worker_lease_ms)
        accepted, events = await self._runner.call(call)
        self.deliver(events)
        return bool(accepted)

    async def detach(self, worker_id: str, epoch: int, *, goodbye: bool) -> None:
        """Notes that a worker's stream ended. Without a goodbye it has a moment to come back."""
        grace_ms = 0 if goodbye else self._settings.detach_grace_ms
        await self._runner.call(self._scripts.detach(worker_id, epoch, grace_ms=grace_ms))

    async def open_session(self, session_id: str, held: frozenset[str]) -> None:
        """Stores a gateway session, and ends the requests of it that the gateway no longer holds.

        Args:
            session_id: The session.
            held: Ids of the requests that the gateway holds.
        """
        await self._runner.call(
            self._scripts.renew([session_id], lease_ms=self._settings.session_lease_ms, create=True)
        )
        for request_id, attempt in await self._runner.owned(self.keys, session_id):
            if request_id not in held:
                await self.finish(request_id, attempt, actual_tokens=None)

    async def renew(self, session_ids: list[str]) -> list[str]:
        """Renews the leases of gateway sessions. Returns the ids of those that Redis does not know."""
        call = self._scripts.renew(session_ids, lease_ms=self._settings.session_lease_ms)
        return [unknown.decode() for unknown in await self._runner.call(call)]

    async def let_lapse(self, session_id: str, grace_ms: int) -> None:
        """Ends the session's lease after `grace_ms`, unless its gateway has come back by then, here or elsewhere."""
        lease_ms = min(grace_ms, self._settings.session_lease_ms)
        await self._runner.call(self._scripts.renew([session_id], lease_ms=lease_ms))

    async def reap(self) -> None:
        """Removes what time has ended, and grants."""
        lease_ms = self._settings.worker_lease_ms
        spare_ms = max(self._settings.session_lease_ms, lease_ms)
        call = self._scripts.reap(self.rules, limit=REAP_LIMIT, worker_lease_ms=lease_ms, spare_ms=spare_ms)
        counts, events = await self._runner.call(call)
        for kind, count in zip(("sessions", "workers", "requests"), counts, strict=True):
            self._metrics.queues.reaped.labels(self.pool, kind).inc(count)
        self.deliver(events)

    async def replace_record(self, which: str, revision: int, fields: dict[str, str], *, entry: str = "") -> bool:
        """Replaces a record of the pool.

        Args:
            which: rollout, speculator or rules.
            revision: The revision that is replaced; 0 if there is none.
            fields: The new record.
            entry: What the history of rollouts keeps of it, as JSON; "" for nothing.

        Returns:
            False when Redis has another revision.
        """
        call = self._scripts.replace_record(which, revision, fields, self.rules, entry=entry, kept=HISTORY_KEPT)
        return bool(await self._runner.call(call))

    def deliver(self, events: Sequence[bytes], besides: str = "") -> None:
        """Delivers events of this pool, except those about the request `besides`.

        A replica of a later release may leave events that this one does not know. They are skipped: the others must
        not wait for them.
        """
        for document in events:
            try:
                event = decode_event(document)
            except ValueError as error:
                log.warning("an event is skipped", extra={"pool": self.pool, "why": str(error)})
                continue
            if isinstance(event, Granted):
                self._count_wait(event)
            if getattr(event, "request_id", None) != besides:
                self._sessions.deliver(event)

    def _count_wait(self, granted: Granted) -> None:
        self._metrics.requests.waits[self.pool, granted.service_class.label].observe(granted.queue_wait_ms / 1000)


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
