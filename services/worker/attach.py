"""RouterService.Attach: the worker reports to one router at a time and receives its orders."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle
from random import Random

import grpc

from services.shared import rpc
from services.shared.backoff import backoff
from services.shared.certificates import Tls
from services.shared.clock import Clock
from services.shared.swap_mode import SwapMode
from services.worker.engine.contract import EngineLoad
from services.worker.standby import StageOrder
from services.worker.standby_report import StandbyPhase, StandbyReport
from services.worker.status import Status
from services.worker.weight_update import UpdateOrder
from services.worker.weight_update_report import Report
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1 import router_pb2_grpc

log = logging.getLogger(__name__)

_WELCOME_S = 5.0
# Changes closer together than this share a heartbeat.
_COALESCE_S = 0.05
_DEFAULT_INTERVAL_S = 1.0

_Call = grpc.aio.StreamStreamCall[pb.AttachRequest, pb.AttachResponse]


class Attachment:
    """Keeps the worker attached to one router at a time and sends it heartbeats."""

    def __init__(
        self,
        routers: tuple[str, ...],
        status: Status,
        load: Callable[[], EngineLoad],
        on_drain: Callable[[float | None], None],
        on_update: Callable[[UpdateOrder], None],
        on_stage: Callable[[StageOrder], None],
        *,
        clock: Clock,
        random: Random,
        tls: Tls | None = None,
    ) -> None:
        """Prepares the attachment; `run` opens it.

        Args:
            routers: Addresses, tried in turn.
            status: The state that heartbeats report.
            load: Returns what the engine does now.
            on_drain: Called when the router asks to drain, with the seconds that running requests get; None means the
                worker's own setting.
            on_update: Called when the router orders a weight update; the router repeats its orders.
            on_stage: Called when the router orders a version for a later rollout; it repeats these orders too.
            clock: For the heartbeat interval.
            random: For the delays between attempts.
            tls: None means plain text.
        """
        self._routers, self._status, self._load = routers, status, load
        self._on_drain, self._on_update, self._on_stage = on_drain, on_update, on_stage
        self._clock, self._random, self._tls = clock, random, tls
        self._rate = _TokenRate()
        self._welcomed = asyncio.Event()
        self._start_order = UpdateOrder("", "")
        self._start_speculator = UpdateOrder("", "", speculator=True)
        self._leaving = asyncio.Event()
        self.left = asyncio.Event()
        self.address = ""
        self.router_id: str | None = None

    async def run(self) -> None:
        """Attaches to one router after another until `leave` is called."""
        delays = backoff(self._random)
        for router in cycle(self._routers):
            try:
                await self._session(router)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError) as error:
                log.warning("router %s: %s", router, _describe(error))
            if self._leaving.is_set():
                self.left.set()
                return
            if self.router_id is not None:
                delays = backoff(self._random)
                self.router_id = None
            await self._clock.sleep(next(delays))

    async def start_orders(self) -> tuple[UpdateOrder, UpdateOrder]:
        """Waits for the first welcome of a router, which says what this process is to start on.

        Returns:
            The version of the model, and that of the speculator; "" for the one that the configuration names. The id is
            "" unless the start is part of a rollout, which reads then in the heartbeats how it goes.
        """
        await self._welcomed.wait()
        return self._start_order, self._start_speculator

    def leave(self) -> None:
        """Says goodbye on the open stream; then `run` returns."""
        self._leaving.set()

    async def _session(self, router: str) -> None:
        async with rpc.channel(router, self._tls) as channel:
            call = router_pb2_grpc.RouterServiceStub(channel).Attach()
            await call.write(self._heartbeat())
            interval_s = await self._await_welcome(call, router)
            beating = asyncio.create_task(self._send_heartbeats(call, interval_s), name="heartbeat")
            try:
                while isinstance(frame := await call.read(), pb.AttachResponse):
                    self._handle(frame, router)
            finally:
                beating.cancel()
                await asyncio.gather(beating, return_exceptions=True)
                call.cancel()

    def _handle(self, frame: pb.AttachResponse, router: str) -> None:
        match frame.WhichOneof("frame"):
            case "drain":
                log.info("router %s asks to drain", router)
                self._on_drain(frame.drain.timeout_ms / 1000 or None)
            case "deliver":
                self._on_update(_update_order(frame.deliver))
            case "stage":
                stage = frame.stage
                self._on_stage(StageOrder(stage.stage_id, stage.model_version, stage.speculator))

    async def _await_welcome(self, call: _Call, router: str) -> float:
        """Returns the seconds between heartbeats. Raises TimeoutError, AioRpcError."""
        async with asyncio.timeout(_WELCOME_S):
            frame = await call.read()
        if not isinstance(frame, pb.AttachResponse) or frame.WhichOneof("frame") != "welcome":
            raise TimeoutError("the router did not welcome this worker")
        self.router_id = frame.welcome.router_id
        if not self._welcomed.is_set():
            welcome = frame.welcome
            self._start_order = UpdateOrder(welcome.delivery_id, welcome.model_version)
            self._start_speculator = UpdateOrder(
                welcome.speculator_delivery_id, welcome.speculator_version, speculator=True
            )
            self._welcomed.set()
        log.info("attached to router %s at %s", self.router_id, router)
        return frame.welcome.heartbeat_interval_ms / 1000 or _DEFAULT_INTERVAL_S

    async def _send_heartbeats(self, call: _Call, interval_s: float) -> None:
        while not self._leaving.is_set():
            await self._clock.sleep(_COALESCE_S)
            await self._wait_for_change(interval_s - _COALESCE_S)
            await call.write(self._heartbeat())
        await call.write(pb.AttachRequest(goodbye=pb.AttachGoodbye(reason=self._status.state.name)))
        await call.done_writing()

    async def _wait_for_change(self, at_most_s: float) -> None:
        """Returns when there is news, when the worker leaves, or after `at_most_s`."""
        waits = [
            asyncio.ensure_future(wait)
            for wait in (self._status.changed(), self._leaving.wait(), self._clock.sleep(max(at_most_s, 0)))
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _heartbeat(self) -> pb.AttachRequest:
        identity, info, load = self._status.identity, self._status.info, self._load()
        heartbeat = pb.Heartbeat(
            worker_id=identity.worker_id,
            epoch=identity.epoch,
            pool=identity.pool,
            address=self.address,
            state=pb.WorkerState.ValueType(self._status.state),
            pid=identity.pid,
            capacity=pb.Capacity(slots=identity.slots),
            load=pb.Load(
                running=load.running,
                waiting=load.waiting,
                kv_tokens_used=load.kv_tokens_used,
                engine_steps=load.steps,
                tokens_per_second=self._rate.update(load.generated_tokens, self._clock.monotonic()),
            ),
        )
        if info is not None:
            heartbeat.model_version = info.model_version
            heartbeat.speculator_version = info.draft_version
            heartbeat.staged_versions.append(info.model_version)
            heartbeat.context_tokens = info.context_tokens
            heartbeat.capacity.kv_tokens = info.kv_tokens
            heartbeat.capacity.prefill_tokens_per_s = info.prefill_tokens_per_s
        if self._status.golden_proved is not None:
            heartbeat.golden_prompts_proved = self._status.golden_proved
        if report := self._status.weight_update:
            heartbeat.delivery.CopyFrom(_weight_update(report))
        if report := self._status.speculator_update:
            heartbeat.speculator_delivery.CopyFrom(_weight_update(report))
        if standby := self._status.standby:
            heartbeat.staging.CopyFrom(_staging(standby))
            if standby.phase is StandbyPhase.STAGED:
                heartbeat.staged_versions.append(standby.version)
        adapters = self._status.adapters
        heartbeat.adapters.extend(adapters.names)
        heartbeat.loaded_adapters.extend(adapters.loaded.keys())
        heartbeat.loaded_adapter_versions.extend(adapters.loaded.values())
        heartbeat.refused_adapters.extend(
            pb.RefusedAdapter(name=name, reason=reason) for name, reason in adapters.refused.items()
        )
        return pb.AttachRequest(heartbeat=heartbeat)


def _update_order(deliver: pb.Deliver) -> UpdateOrder:
    finish_s = deliver.finish_timeout_ms / 1000 if deliver.finish_timeout_ms else None
    order = UpdateOrder(deliver.delivery_id, deliver.model_version, finish_s, speculator=deliver.speculator)
    try:
        return replace(order, mode=SwapMode.of_proto_name(pb.SwapMode.Name(deliver.mode)))
    except ValueError:
        return replace(order, refusal=f"this worker does not know mode {deliver.mode}: its release is older")


def _weight_update(report: Report) -> pb.Delivery:
    return pb.Delivery(
        delivery_id=report.update_id,
        model_version=report.version,
        phase=pb.DeliveryPhase.ValueType(report.phase),
        reason=report.reason,
    )


def _staging(report: StandbyReport) -> pb.Staging:
    return pb.Staging(
        stage_id=report.stage_id,
        model_version=report.version,
        phase=pb.StagingPhase.ValueType(report.phase),
        staged_bytes=report.staged_bytes,
        total_bytes=report.total_bytes,
        reason=report.reason,
    )


class _TokenRate:
    """Tokens per second, measured over at least half a second, so that a burst of heartbeats does not distort it."""

    def __init__(self) -> None:
        self._tokens, self._at, self._rate = 0, 0.0, 0.0

    def update(self, tokens: int, now: float) -> float:
        if (elapsed := now - self._at) >= 0.5:
            self._rate = (tokens - self._tokens) / elapsed
            self._tokens, self._at = tokens, now
        return self._rate


def _describe(error: BaseException) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return f"{error.code().name}: {error.details()}"
    return str(error) or type(error).__name__
