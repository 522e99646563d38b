"""The Attach stream: a worker sends heartbeats, and the router sends what the worker is asked to do."""

import asyncio
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable

import grpc
from redis.exceptions import RedisError

from services.router.core.rollout import Start
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.sessions import AttachedWorker, Sessions
from services.router.redis.script_runner import RedisUnavailable
from services.router.redis.scripts import WorkerReport
from services.router.settings import RouterSettings
from services.shared.rpc import Context
from tidegate.router.v1 import router_pb2 as pb

log = logging.getLogger(__name__)

StartOf = Callable[[PoolQueue, str, int], Awaitable[Start]]
"""What a process of a worker is to start on: takes its pool, its id and its epoch."""

# Scripts store these names in lists with commas between, and cache ids as name@number.
_NAME = re.compile(r"[A-Za-z0-9._:-]{1,200}")
_STATES = {
    pb.WORKER_STATE_LOADING: "loading",
    pb.WORKER_STATE_READY: "ready",
    pb.WORKER_STATE_DRAINING: "draining",
    pb.WORKER_STATE_STUCK: "stuck",
    pb.WORKER_STATE_SWAPPING: "swapping",
}


class Attachments:
    """Serves the streams of workers that attach to this replica."""

    def __init__(
        self,
        router_id: str,
        queues: dict[str, PoolQueue],
        *,
        settings: RouterSettings,
        sessions: Sessions,
        start_of: StartOf,
    ) -> None:
        self._router_id = router_id
        self._queues = queues
        self._start_of = start_of
        self._settings = settings
        self._sessions = sessions

    async def serve(
        self, requests: AsyncIterator[pb.AttachRequest], context: Context
    ) -> AsyncGenerator[pb.AttachResponse, None]:
        """One worker's stream, until either side ends it."""
        first = await anext(aiter(requests), None)
        if first is None or (queue := await self._admit(first.heartbeat, context)) is None:
            return
        start = await self._start(queue, first.heartbeat, context)
        worker = AttachedWorker(first.heartbeat.worker_id, first.heartbeat.epoch, first.heartbeat.pool)
        self._sessions.attach(worker)
        log.info("worker attached", extra={"worker": worker.worker_id, "pool": worker.pool})
        listener = asyncio.create_task(self._listen(worker, queue, requests, context))
        listener.add_done_callback(lambda _: worker.end())
        try:
            yield self._welcome(start)
            while frame := await worker.outgoing.get():
                yield frame
        finally:
            listener.cancel()
            self._sessions.detach(worker)
            await self._detach(worker, queue)

    async def _admit(self, heartbeat: pb.Heartbeat, context: Context) -> PoolQueue | None:
        if not heartbeat.epoch or not heartbeat.capacity.slots:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT, "the first frame must be a heartbeat with epoch and slots"
            )
        for name in (heartbeat.worker_id, *heartbeat.adapters):
            if not _NAME.fullmatch(name):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{name!r} is no name: {_NAME.pattern} is")
        queue = self._queues.get(heartbeat.pool)
        if queue is None:
            known = ", ".join(self._queues)
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"pool {heartbeat.pool!r} is not in tidegate.yaml (it has: {known})",
            )
        await self._report(queue, heartbeat, context)
        return queue

    async def _start(self, queue: PoolQueue, heartbeat: pb.Heartbeat, context: Context) -> Start:
        """A worker that serves already does not ask. One that does must not be told a guess: it tries again later."""
        if heartbeat.model_version:
            return Start()
        try:
            return await self._start_of(queue, heartbeat.worker_id, heartbeat.epoch)
        except (RedisUnavailable, RedisError, OSError) as error:
            log.warning("worker sent away", extra={"worker": heartbeat.worker_id, "why": str(error)})
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "Redis does not answer, so the version to start on is not known"
            )

    def _welcome(self, start: Start) -> pb.AttachResponse:
        return pb.AttachResponse(
            welcome=pb.AttachWelcome(
                router_id=self._router_id,
                heartbeat_interval_ms=self._settings.heartbeat_ms,
                lease_ms=self._settings.worker_lease_ms,
                model_version=start.version,
                delivery_id=start.delivery_id,
                speculator_version=start.speculator,
                speculator_delivery_id=start.speculator_delivery_id,
            )
        )

    async def _listen(
        self, worker: AttachedWorker, queue: PoolQueue, requests: AsyncIterator[pb.AttachRequest], context: Context
    ) -> None:
        async for request in requests:
            match request.WhichOneof("frame"):
                case "heartbeat":
                    await self._report(queue, request.heartbeat, context)
                case "goodbye":
                    log.info("worker leaves", extra={"worker": worker.worker_id, "why": request.goodbye.reason})
                    worker.said_goodbye = True
                    return

    async def _report(self, queue: PoolQueue, heartbeat: pb.Heartbeat, context: Context) -> None:
        """While Redis does not answer, the worker stays attached. Its next heartbeat has all of its state again."""
        try:
            accepted = await queue.heartbeat(_report_of(heartbeat))
        except RedisUnavailable:
            log.warning("heartbeat not stored", extra={"worker": heartbeat.worker_id})
            return
        if not accepted:
            await context.abort(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"worker {heartbeat.worker_id} has been started anew: epoch {heartbeat.epoch} is over",
            )

    async def _detach(self, worker: AttachedWorker, queue: PoolQueue) -> None:
        log.info("worker detached", extra={"worker": worker.worker_id, "goodbye": worker.said_goodbye})
        try:
            await queue.detach(worker.worker_id, worker.epoch, goodbye=worker.said_goodbye)
        except RedisUnavailable:
            log.warning("detach not stored; the lease will end it", extra={"worker": worker.worker_id})


def _state(heartbeat: pb.Heartbeat) -> str:
    """A worker gets no grant before it knows the size of its KV cache."""
    state = _STATES.get(heartbeat.state, "unknown")
    return "loading" if state == "ready" and not heartbeat.capacity.kv_tokens else state


def _report_of(heartbeat: pb.Heartbeat) -> WorkerReport:
    return WorkerReport(
        worker_id=heartbeat.worker_id,
        epoch=heartbeat.epoch,
        state=_state(heartbeat),
        slots=heartbeat.capacity.slots,
        kv_tokens=heartbeat.capacity.kv_tokens,
        model_version=heartbeat.model_version,
        address=heartbeat.address,
        heartbeat=heartbeat.SerializeToString(),
        prefill_tokens_per_s=heartbeat.capacity.prefill_tokens_per_s,
        kv_tokens_used=heartbeat.load.kv_tokens_used,
        waiting=heartbeat.load.waiting,
        adapters=tuple(heartbeat.adapters),
        loaded_adapters=tuple(heartbeat.loaded_adapters),
    )
