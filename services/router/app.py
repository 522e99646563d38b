"""The router process: builds its parts, starts and stops them."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from random import Random

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from prometheus_client import CollectorRegistry
from redis.exceptions import RedisError

from services.router.core.keys import PoolKeys
from services.router.core.rollout import Start
from services.router.core.rollout_turn import Timeouts
from services.router.grpc.attach import Attachments
from services.router.grpc.control import ControlService
from services.router.grpc.dispatch import Dispatcher
from services.router.maintenance import Maintenance
from services.router.metrics import RouterMetrics
from services.router.queue.pool_queue import PoolQueue
from services.router.queue.resume_log import ResumeLogs
from services.router.queue.sessions import Sessions
from services.router.queue.snapshot import Snapshot
from services.router.redis.script_runner import ScriptRunner
from services.router.rollout_controller import Judge, RolloutController
from services.router.rollout_gate import RolloutGate
from services.router.rollout_lane import MODEL, SPECULATOR, Lane
from services.router.settings import RouterSettings
from services.router.version_staging import VersionStaging
from services.shared import config, lifecycle, rpc
from services.shared.backoff import backoff
from services.shared.certificate_metrics import export_certificate
from services.shared.clock import Clock, SystemClock
from services.shared.http import HttpServer
from services.shared.lifecycle import Tasks
from services.shared.rpc import Context
from services.shared.settings import split
from services.shared.telemetry import admin_app
from services.shared.tracing import endpoint_of, tracing
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1 import router_pb2_grpc

log = logging.getLogger(__name__)

REDIS_SILENCE_S = 5.0
STOP_GRACE_S = 1.0


class RouterService(router_pb2_grpc.RouterServiceServicer):
    """The gRPC service for gateways and workers; each call goes to the part that serves it."""

    def __init__(self, dispatcher: Dispatcher, attachments: Attachments) -> None:
        self._dispatcher = dispatcher
        self._attachments = attachments

    async def Dispatch(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.DispatchRequest], context: Context
    ) -> AsyncIterator[pb.DispatchResponse]:
        """A gateway's stream."""
        async with aclosing(self._dispatcher.serve(request_iterator, context)) as frames:
            async for frame in frames:
                yield frame

    async def ReadLog(self, request: pb.ReadLogRequest, context: Context) -> pb.ReadLogResponse:  # noqa: N802
        """Reads a resume log."""
        return await self._dispatcher.read_log(request, context)

    async def Attach(  # noqa: N802
        self, request_iterator: AsyncIterator[pb.AttachRequest], context: Context
    ) -> AsyncIterator[pb.AttachResponse]:
        """A worker's stream."""
        async with aclosing(self._attachments.serve(request_iterator, context)) as frames:
            async for frame in frames:
                yield frame


class RouterApp:
    """One router replica.

    Attributes:
        address: host:port of the gRPC server; set by `start`.
        http_address: host:port of the HTTP server for metrics and health; set by `start`.
        router_id: Names this replica in Redis.
    """

    address: str
    http_address: str

    def __init__(self, settings: RouterSettings, *, clock: Clock | None = None, random: Random | None = None) -> None:
        """Builds all parts; nothing runs yet.

        Raises:
            WrongSettings: The settings or tidegate.yaml cannot be used.
        """
        self._settings, self._clock = settings, clock or SystemClock()
        self._random = random or Random()  # noqa: S311 - jitter only
        self.router_id = f"router-{secrets.token_hex(4)}"
        self._cluster = config.load(settings.config)
        self._registry = CollectorRegistry()
        export_certificate(self._registry, settings.tls())
        self._metrics = RouterMetrics(self._registry)
        self._tracing = tracing(endpoint_of(self._cluster.traces_endpoint), "router", self._registry, self._clock)
        self._sessions, self._snapshot = Sessions(self._metrics), Snapshot()
        self._runner = ScriptRunner(
            settings.redis(), [PoolKeys(pool.name) for pool in self._cluster.pools], self._metrics.scripts
        )
        self._queues = {pool.name: self._build_queue(pool.name) for pool in self._cluster.pools}
        self._gate = RolloutGate(self._runner, self._snapshot, self._cluster, self._clock)
        self._maintenance = self._build_maintenance()
        self._rollouts = self._build_rollouts(MODEL, self._gate.judge)
        self._speculators = self._build_rollouts(SPECULATOR, None)
        self._health = health.aio.HealthServicer()
        self._server = self._build_server()
        self._http = HttpServer(admin_app(lambda: None, self._not_ready, self._registry), *split(settings.http_listen))
        self._tasks = Tasks()
        self._started = False

    def _build_queue(self, pool: str) -> PoolQueue:
        return PoolQueue(
            pool,
            self.router_id,
            runner=self._runner,
            settings=self._settings,
            cluster=self._cluster,
            sessions=self._sessions,
            metrics=self._metrics,
        )

    def _build_resume_logs(self) -> ResumeLogs:
        kept = {pool.name: pool.journal for pool in self._cluster.pools if pool.journal}
        return ResumeLogs({name: self._queues[name].resume_logs(bounds) for name, bounds in kept.items()})

    def _build_maintenance(self) -> Maintenance:
        return Maintenance(
            self.router_id,
            self._queues,
            runner=self._runner,
            settings=self._settings,
            sessions=self._sessions,
            snapshot=self._snapshot,
            cluster=self._cluster,
            metrics=self._metrics,
            clock=self._clock,
            random=self._random,
        )

    def _build_rollouts(self, lane: Lane, judge: Judge | None) -> RolloutController:
        settings = self._settings
        return RolloutController(
            self._queues,
            runner=self._runner,
            snapshot=self._snapshot,
            metrics=self._metrics,
            clock=self._clock,
            timeouts=Timeouts(int(settings.rollout_worker_limit_s * 1000), settings.worker_lease_ms),
            judge=judge,
            lane=lane,
        )

    async def _start_of(self, queue: PoolQueue, worker_id: str, epoch: int) -> Start:
        """What a process that has just attached is to start on: model and speculator."""
        start = await self._rollouts.start_of(queue, worker_id, epoch)
        drafter = await self._speculators.start_of(queue, worker_id, epoch)
        return replace(start, speculator=drafter.version, speculator_delivery_id=drafter.delivery_id)

    def _build_server(self) -> grpc.aio.Server:
        settings, queues, sessions = self._settings, self._queues, self._sessions
        dispatcher = Dispatcher(
            self.router_id,
            queues,
            settings=settings,
            sessions=sessions,
            snapshot=self._snapshot,
            resume_logs=self._build_resume_logs(),
            gate=self._gate,
            metrics=self._metrics,
            tracing=self._tracing,
        )
        attachments = Attachments(self.router_id, queues, settings=settings, sessions=sessions, start_of=self._start_of)
        control = ControlService(
            queues,
            runner=self._runner,
            maintenance=self._maintenance,
            snapshot=self._snapshot,
            cluster=self._cluster,
            rollouts=self._rollouts,
            speculators=self._speculators,
            staging=VersionStaging(self._runner),
            clock=self._clock,
        )
        server = rpc.server(settings.tls())
        router_pb2_grpc.add_RouterServiceServicer_to_server(RouterService(dispatcher, attachments), server)
        router_pb2_grpc.add_ControlServiceServicer_to_server(control, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server

    async def start(self) -> None:
        """Waits for Redis, then starts everything.

        Raises:
            WrongSettings: This Redis may not be used.
            RuntimeError: An address is in use by another process.
        """
        self.http_address = await self._http.start()
        await self._wait_for_redis()
        for pool, sender in self._runner.senders():
            self._tasks.start(sender, f"calls of {pool}")
        await self._maintenance.take_snapshot()
        self._tasks.start(self._maintenance.keep_leases(), "leases")
        for pool, queue in self._queues.items():
            self._tasks.start(self._maintenance.empty_outbox(queue), f"outbox of {pool}")
        self._tasks.start(self._maintenance.keep_snapshot(), "snapshot")
        self._tasks.start(self._maintenance.measure_redis(), "Redis health")
        self._tasks.start(self._maintenance.tell_positions(), "queue positions")
        self._tasks.start(self._rollouts.carry_on(), "rollouts")
        self._tasks.start(self._speculators.carry_on(), "rollouts of speculators")
        host, _ = split(self._settings.listen)
        self.address = f"{host}:{rpc.bind(self._server, self._settings.listen, self._settings.tls())}"
        await self._server.start()
        await self._health.set("", health_pb2.HealthCheckResponse.SERVING)
        self._started = True
        log.info("router is up", extra={"router": self.router_id, "address": self.address})

    async def _wait_for_redis(self) -> None:
        for delay in backoff(self._random):
            try:
                await self._runner.check()
                return
            except (RedisError, OSError) as error:
                log.warning("waiting for Redis", extra={"why": str(error)})
                await self._clock.sleep(delay)

    def _not_ready(self) -> str | None:
        if not self._started:
            return "waiting for Redis"
        silence = self._clock.monotonic() - self._maintenance.last_success
        return f"Redis has not answered for {silence:.0f} s" if silence > REDIS_SILENCE_S else None

    async def stop(self) -> None:
        """Stops everything. Gateways and workers move to another replica and lose nothing."""
        await self._health.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(STOP_GRACE_S)
        await self._tasks.stop()
        await self._runner.close()
        if self._tracing:
            await self._tracing.stop()
        await self._http.stop()


async def run(settings: RouterSettings, stop: asyncio.Event) -> None:
    """Runs one replica until `stop` is set."""
    app = RouterApp(settings)
    await lifecycle.unless(stop, app.start())
    await stop.wait()
    await app.stop()
