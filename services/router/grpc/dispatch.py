"""The Dispatch stream: a gateway submits and ends requests, and the router answers with grants and refusals."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator

import grpc

from services.router.core.class_rules import Rules
from services.router.core.events import Queued
from services.router.core.prefix_hashes import prefix_hashes
from services.router.metrics import RouterMetrics
from services.router.queue import frames
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.resume_log import ResumeLogs
from services.router.queue.sessions import GatewaySession, Sessions
from services.router.queue.snapshot import Snapshot
from services.router.redis.script_runner import RedisUnavailable
from services.router.redis.scripts import Limit, Submission
from services.router.rollout_gate import RolloutGate
from services.router.settings import RouterSettings
from services.shared import rpc
from services.shared.classes import ServiceClass
from services.shared.rpc import Context
from services.shared.tracing import Tracing
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

MAX_UNDERWAY = 4096
GATEWAY_LEFT = "the gateway left"
# A gateway that lives connects again within a tenth of this time. One that was killed must not hold its slots for a
# whole lease.
LEFT_GRACE_MS = 500
FINISH_RETRY_S = 0.25
# A request whose engine died this often is believed to be the cause.
POISON_DEATHS = 2


class Dispatcher:
    """Serves the streams of gateways that are connected to this replica."""

    def __init__(
        self,
        router_id: str,
        queues: dict[str, PoolQueue],
        *,
        settings: RouterSettings,
        sessions: Sessions,
        snapshot: Snapshot,
        resume_logs: ResumeLogs,
        gate: RolloutGate,
        metrics: RouterMetrics,
        tracing: Tracing | None = None,
    ) -> None:
        self._gate = gate
        self._router_id = router_id
        self._queues = queues
        self._resume_logs = resume_logs
        self._settings = settings
        self._metrics, self._tracing = metrics, tracing
        self._sessions = sessions
        self._snapshot = snapshot

    async def serve(
        self, requests: AsyncIterator[pb.DispatchRequest], context: Context
    ) -> AsyncGenerator[pb.DispatchResponse, None]:
        """One gateway's stream, until either side ends it."""
        frames: AsyncIterator[pb.GatewayFrame] = rpc.frames(requests)
        session = await self._open(frames, context)
        self._sessions.connect(session)
        session.send(self._welcome())
        session.send(pb.RouterFrame(catalog=self._snapshot.catalog))
        reader = asyncio.create_task(self._read(session, frames), name=f"dispatch {session.gateway_id}")
        reader.add_done_callback(lambda _: session.drop(GATEWAY_LEFT))
        try:
            async for message in session.collected():
                yield message
        finally:
            reader.cancel()
            self._sessions.disconnect(session)
            if session.dropped == GATEWAY_LEFT:
                await self._shorten_lease(session)
        log.info("gateway stream ended", extra={"gateway": session.gateway_id, "why": session.dropped})
        if not reader.done():
            await context.abort(grpc.StatusCode.UNAVAILABLE, session.dropped)

    async def read_log(self, request: pb.ReadLogRequest, context: Context) -> pb.ReadLogResponse:
        """Reads the resume log of one stream."""
        try:
            log = await self._resume_logs.read(request.pool, request.request_id)
        except RedisUnavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")
        if log is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "nothing is kept of this stream")
        return pb.ReadLogResponse(log=log)

    async def _open(self, frames: AsyncIterator[pb.GatewayFrame], context: Context) -> GatewaySession:
        first = await anext(frames, None)
        if first is None or not first.hello.session_id:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the first frame must be a hello with a session id")
        hello = first.hello
        try:
            for queue in self._queues.values():
                await queue.open_session(hello.session_id, frozenset(hello.held_requests))
        except RedisUnavailable:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the router's store does not answer")
        log.info("gateway connected", extra={"gateway": hello.gateway_id})
        return GatewaySession(hello.session_id, hello.gateway_id)

    async def _shorten_lease(self, session: GatewaySession) -> None:
        """Does nothing for a session that has moved to another replica."""
        try:
            for queue in self._queues.values():
                await queue.let_lapse(session.session_id, LEFT_GRACE_MS)
        except RedisUnavailable:
            log.warning("the lease of a gateway that left is not shortened", extra={"gateway": session.gateway_id})

    def _welcome(self) -> pb.RouterFrame:
        welcome = pb.DispatchWelcome(router_id=self._router_id, session_lease_ms=self._settings.session_lease_ms)
        return pb.RouterFrame(welcome=welcome)

    async def _read(self, session: GatewaySession, frames: AsyncIterator[pb.GatewayFrame]) -> None:
        """Handles each frame in its own task. Tasks start in order, so script calls leave in order too."""
        free = asyncio.Semaphore(MAX_UNDERWAY)
        async with asyncio.TaskGroup() as underway:
            async for frame in frames:
                await free.acquire()
                task = underway.create_task(self._handle(session, frame))
                task.add_done_callback(lambda _: free.release())

    async def _handle(self, session: GatewaySession, frame: pb.GatewayFrame) -> None:
        match frame.WhichOneof("frame"):
            case "submit":
                if self._tracing and frame.submit.trace_parent:
                    await self._submit_traced(session, frame.submit, self._tracing)
                else:
                    await self._submit(session, frame.submit)
            case "finish":
                session.waiting.pop(frame.finish.request_id, None)
                await self._finish(frame.finish)
            case "journal_write":
                written = await self._resume_logs.write(frame.journal_write.parts)
                session.send(pb.RouterFrame(journal_written=written))
            case other:
                session.drop(f"unexpected frame {other}")

    async def _submit_traced(self, session: GatewaySession, submit: pb.Submit, tracing: Tracing) -> None:
        span = tracing.span("router", {"tidegate.router": self._router_id}, submit.trace_parent)
        try:
            span.set({"tidegate.answer": await self._submit(session, submit)})
        finally:
            span.end()

    async def _submit(self, session: GatewaySession, submit: pb.Submit) -> str:
        """Returns what came of it, for traces."""
        queue = self._queues.get(submit.pool)
        if queue is None:
            return self._reject(session, submit, "unknown_pool")
        if submit.engine_deaths >= POISON_DEATHS:
            return self._reject(session, submit, "poison")
        submission = _submission(session.session_id, submit, queue.rules)
        try:
            reply = await queue.submit(submission)
        except RedisUnavailable:
            return self._reject(session, submit, "store_unavailable")
        if isinstance(reply, Queued):
            session.waiting[submit.request_id] = submit.pool
        session.send(frames.answer(submission, reply))
        return type(reply).__name__.lower()

    def _reject(self, session: GatewaySession, submit: pb.Submit, why: str) -> str:
        """Refuses a request without a script call. Returns why."""
        pool = submit.pool if submit.pool in self._queues else ""
        self._metrics.requests.answers[pool, _service_class(submit.service_class).label, why].inc()
        session.send(frames.reject(submit.request_id, submit.attempt, why))
        return why

    async def _finish(self, finish: pb.Finish) -> None:
        """Tries until Redis answers: a lost Finish would keep a slot taken for as long as the gateway lives."""
        queue = self._queues.get(finish.pool)
        while queue is not None:
            try:
                expected = await queue.finish(finish.request_id, finish.attempt, actual_tokens=_actual(finish))
                if expected is not None:
                    self._metrics.requests.finish(expected, finish)
                    self._gate.count(finish)
                return
            except RedisUnavailable:
                await asyncio.sleep(FINISH_RETRY_S)


def _submission(session_id: str, submit: pb.Submit, rules: Rules) -> Submission:
    service_class = _service_class(submit.service_class)
    max_wait_ms = rules.of(service_class).max_wait_ms
    return Submission(
        session=session_id,
        request_id=submit.request_id,
        attempt=submit.attempt,
        service_class=service_class,
        tokens=submit.cost.prompt_tokens + submit.cost.completion_tokens,
        give_up_after_ms=min(submit.timeout_ms or max_wait_ms, max_wait_ms),
        tenant=submit.tenant,
        weight=submit.weight if submit.weight > 0 else 1.0,
        prompt_tokens=submit.cost.prompt_tokens,
        objective_ms=submit.ttft_objective_ms,
        at_head=submit.at_head,
        excluded_workers=tuple(submit.excluded_workers),
        model_version=submit.model_version,
        version_optional=submit.model_version_optional,
        adapter=submit.adapter,
        prefix_hashes=prefix_hashes(submit.block_hashes, submit.block_tokens),
        canary=submit.canary,
        running_on=submit.placement.worker_id,
        running_epoch=submit.placement.worker_epoch,
        limits=tuple(
            Limit(limit.name, limit.requests_per_minute, limit.tokens_per_minute, limit.concurrency)
            for limit in submit.limits
        ),
    )


def _actual(finish: pb.Finish) -> int | None:
    """What the request cost in tokens; None when another attempt follows."""
    if finish.outcome in (pb.OUTCOME_RETRYING, pb.OUTCOME_YIELDED):
        return None
    return finish.prompt_tokens + finish.completion_tokens


def _service_class(value: pb.ServiceClass.ValueType) -> ServiceClass:
    return ServiceClass.DEFAULT if value == pb.SERVICE_CLASS_UNSPECIFIED else ServiceClass.of_proto(value)
