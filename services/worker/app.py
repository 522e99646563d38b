"""A worker: it binds its servers, attaches to a router, loads the model and starts the engine."""

import asyncio
import logging
import os
import platform
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from random import Random, SystemRandom

import grpc
import prometheus_client
from prometheus_client import CollectorRegistry

from services.shared import config, objectstore, rpc
from services.shared.certificate_metrics import export_certificate
from services.shared.clock import Clock, SystemClock
from services.shared.config import Adapters as AdapterConfig
from services.shared.http import HttpServer
from services.shared.labelled import Labelled
from services.shared.lifecycle import Tasks
from services.shared.manifests import Manifest, WrongManifest
from services.shared.registry import Registry, UnknownVersion
from services.shared.settings import WrongSettings, split
from services.shared.signing import TrustedKeys
from services.shared.staging import RefusedModel, Stager, Watcher
from services.shared.telemetry import admin_app
from services.shared.tracing import endpoint_of, tracing
from services.worker.adapters.adapters import Adapters
from services.worker.adapters.adapters import Limits as AdapterLimits
from services.worker.adapters.source import AdapterSource
from services.worker.attach import Attachment
from services.worker.engine.bounded import bounded
from services.worker.engine.build import build_engine
from services.worker.engine.contract import Drafter, Engine, EngineDead, Model
from services.worker.golden import NotProven, prove
from services.worker.gpu import GpuCollector
from services.worker.group.leader import Leader
from services.worker.group.membership import Membership
from services.worker.health import StepWatch
from services.worker.hold import Bounds
from services.worker.metrics import Metrics
from services.worker.model import ModelSource, check_drafter, reference
from services.worker.model_cache import ModelCache
from services.worker.serve import WorkerService
from services.worker.settings import WorkerSettings
from services.worker.speculator_update import SpeculatorUpdates
from services.worker.standby import StageOrder, Standby
from services.worker.status import Identity, State, Status
from services.worker.supply import Supply
from services.worker.update_trace import UpdateTrace
from services.worker.weight_update import Limits, UpdateOrder, WeightUpdates
from tidegate.worker.v1 import group_pb2_grpc, worker_pb2_grpc

log = logging.getLogger(__name__)

_WATCH_S = 0.5
_HAND_OVER_S = 2.0
_GOODBYE_S = 2.0
_GRACE_S = 1.0
# A rollout reads within this time why a worker could not start.
_TELL_S = 2.0


class WorkerApp:
    """One worker process.

    `ended` is set when the worker has nothing more to do: a router has drained it, or it failed (`failure` says why).
    """

    def __init__(
        self,
        settings: WorkerSettings,
        *,
        clock: Clock | None = None,
        random: Random | None = None,
        engine: Engine | None = None,
        store: objectstore.ObjectStore | None = None,
        on_loaded: Callable[[], None] = lambda: None,
    ) -> None:
        """Wires the worker; nothing runs before `start`.

        Args:
            settings: From the environment.
            clock: Default: the system's clock.
            random: Default: the system's random numbers.
            engine: Default: the engine that the pool's configuration names.
            store: Default: the object store of the settings.
            on_loaded: Called once the engine runs, before the first request.

        Raises:
            WrongSettings: A setting or the pool's configuration is wrong.
        """
        self._settings, self._clock, self._random = settings, clock or SystemClock(), random or SystemRandom()
        self._on_loaded = on_loaded
        cluster = config.load(settings.config)
        self._pool, traces_endpoint = cluster.pool(settings.pool), endpoint_of(cluster.traces_endpoint)
        reference(self._pool.model, f"pools.{self._pool.name}.model")
        self.engine = engine or build_engine(
            self._pool.engine, self._clock, f"pools.{self._pool.name}.engine", self._pool.adapters, traces_endpoint
        )
        self.status = Status(self._identity())
        self._model_cache = ModelCache(settings.cache_dir, settings.spare_versions, settings.cache_bytes)
        store = store or objectstore.connect(settings)
        source = self._build_source(store)
        self._metrics = self._build_metrics()
        export_certificate(self._metrics.registry, settings.tls())
        self._tracing = tracing(traces_endpoint, "worker", self._metrics.registry, self._clock)
        self._adapters = self._build_adapters(store, self._pool.adapters) if self._pool.adapters else None
        self._leader = self._build_leader() if self._pool.engine.nodes > 1 else None
        self._supply = Supply(source, self._pool, self._leader)
        self._service = WorkerService(
            self.engine, self.status, self._metrics, self._clock, adapters=self._adapters, tracing=self._tracing
        )
        bounds = Bounds(self._pool.weight_updates.mode, settings.delivery_finish_s, cluster.hold_s(self._pool))
        limits = Limits(settings.stage_limit_s, bounds, settings.swap_limit_s)
        self._weight_updates = self._build_weight_updates(limits)
        self._speculator_updates = self._build_speculator_updates(limits)
        self._standby = self._build_standby()
        self._attachment = self._build_attachment()
        self._server: grpc.aio.Server | None = None
        self._http: HttpServer | None = None
        self._tasks = Tasks()
        self._stopped = False
        self.address = ""
        self.http_address = ""
        self.ended = asyncio.Event()
        self.failure: str | None = None

    async def start(self) -> None:
        """Binds the addresses, attaches to a router, and loads the model in the background.

        Raises:
            WrongSettings: An address is in use.
        """
        try:
            await self._bind()
        except (OSError, RuntimeError) as error:
            raise WrongSettings(f"TIDEGATE_LISTEN or TIDEGATE_HTTP_LISTEN: {error}") from error
        self._attachment.address = self._settings.advertise or self.address
        own = {"attach": self._attachment.run(), "bring-up": self._bring_up(), "watch": self._watch()}
        for name, work in own.items():
            self._tasks.start(work, name).add_done_callback(self._fail_with)

    async def stop(self) -> None:
        """Drains for `drain_s` seconds at most, says goodbye to the router, and stops. A second call does nothing."""
        if self._stopped:
            return
        self._stopped = True
        if self._leader:
            self._leader.end("it was told to stop")
        await self._drain(self._settings.drain_s)
        await self._tasks.stop()
        if self._server:
            await self._server.stop(_GRACE_S)
        if self._adapters:
            await self._adapters.stop()
        await self.engine.stop()
        if self._tracing:
            await self._tracing.stop()
        self._model_cache.keep(())
        self._metrics.close()
        if self._http:
            await self._http.stop()

    def live(self) -> str | None:
        """Returns what is wrong with the process, or None."""
        if self.failure or self.engine.death:
            return self.failure or self.engine.death
        return "the engine makes no progress" if self.status.state is State.STUCK else None

    def ready(self) -> str | None:
        """Returns why the worker takes no requests yet, or None when it is ready."""
        if self.status.state is not State.READY:
            return self.status.state.name.lower()
        return None if self._attachment.router_id is not None else "attached to no router"

    def _identity(self) -> Identity:
        name = self._settings.worker_id or f"{platform.node()}-{os.getpid()}"
        return Identity(
            name, int(self._clock.wall() * 1e9), self._pool.name, os.getpid(), self._pool.engine.max_running
        )

    def _build_source(self, store: objectstore.ObjectStore) -> ModelSource:
        settings, trusted = self._settings, TrustedKeys(self._settings.trusted_keys)
        stager = Stager(store, settings.cache_dir, self._clock, trusted, settings.transfer_limits, self._random)
        return ModelSource(Registry(store), stager, self._model_cache, clock=self._clock, random=self._random)

    def _build_adapters(self, store: objectstore.ObjectStore, config: AdapterConfig) -> Adapters:
        """Adapters have a folder of their own in the cache folder: many small ones must not push a model out."""
        settings, folder = self._settings, self._settings.cache_dir / "adapters"
        trusted = TrustedKeys(settings.trusted_keys)
        source = AdapterSource(
            config,
            Registry(store),
            Stager(store, folder, self._clock, trusted, settings.transfer_limits, self._random),
            ModelCache(folder, config.max_cached),
            trusted,
            clock=self._clock,
            random=self._random,
        )
        return Adapters(
            config,
            source,
            self.engine,
            self.status,
            limits=AdapterLimits(settings.adapter_poll_s, settings.stage_limit_s, settings.swap_limit_s),
            metrics=self._metrics,
            clock=self._clock,
        )

    def _build_leader(self) -> Leader:
        """Raises WrongSettings: followers could not reach this worker."""
        if split(self._public_address)[0] in ("0.0.0.0", "::"):
            raise WrongSettings(
                f"TIDEGATE_ADVERTISE is not set, and TIDEGATE_LISTEN = {self._settings.listen!r} names no host: the"
                f" other nodes (pools.{self._pool.name}.engine.nodes = {self._pool.engine.nodes}) need one"
            )
        return Leader(
            Membership.of(self._pool, 0),
            self._pool.engine.nodes,
            self.status.identity.worker_id,
            on_lost=self._fail,
            on_leaving=lambda: self._drain_on_request(None),
            clock=self._clock,
        )

    @property
    def _public_address(self) -> str:
        return self._settings.advertise or self._settings.listen

    def _build_metrics(self) -> Metrics:
        """Uses the global registry with vLLM, which puts its metrics there; else a registry of its own."""
        simulated = self._pool.engine.kind == "simulated"
        return Metrics(
            CollectorRegistry() if simulated else prometheus_client.REGISTRY,
            self.engine.load,
            *(() if simulated else (GpuCollector(),)),
            golden_proved=lambda: self.status.golden_proved,
            info=lambda: self.status.info,
        )

    def _build_speculator_updates(self, limits: Limits) -> SpeculatorUpdates:
        return SpeculatorUpdates(
            self.engine,
            self.status,
            self._weight_updates,
            self._fetch_drafter,
            self._fail,
            limits=limits,
            metrics=self._metrics,
            clock=self._clock,
        )

    def _build_weight_updates(self, limits: Limits) -> WeightUpdates:
        return WeightUpdates(
            self.engine,
            self.status,
            self._service,
            self._fetch_version,
            self._fail,
            limits=limits,
            metrics=self._metrics,
            clock=self._clock,
            adapters=self._adapters,
            trace=self._update_trace(),
            check_drafter=partial(check_drafter, self._pool),
        )

    def _update_trace(self) -> UpdateTrace | None:
        if self._tracing is None:
            return None
        return UpdateTrace(self._tracing, self._pool.name, self.status.identity.worker_id)

    def _build_standby(self) -> Standby:
        settings, cache = self._settings, self._model_cache
        in_use, limit_s = self._weight_updates.in_use, settings.stage_limit_s
        return Standby(
            self.status,
            settings.cache_dir,
            self._fetch_version,
            in_use,
            cache.keep,
            limit_s=limit_s,
            fetch_drafter=self._stage_drafter,
        )

    def _build_attachment(self) -> Attachment:
        return Attachment(
            self._settings.routers,
            self.status,
            self.engine.load,
            self._drain_on_request,
            self._update_on_request,
            self._stage_on_request,
            clock=self._clock,
            random=self._random,
            tls=self._settings.tls(),
        )

    async def _bind(self) -> None:
        tls = self._settings.tls()
        self._server = rpc.server(tls)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self._service, self._server)
        if self._leader:
            group_pb2_grpc.add_GroupServiceServicer_to_server(self._leader, self._server)
        port = rpc.bind(self._server, self._settings.listen, tls)
        await self._server.start()
        self.address = f"{self._settings.listen.rpartition(':')[0]}:{port}"
        # vLLM's own metrics know no pool either.
        metrics = Labelled(self._metrics.registry, {"pool": self._pool.name})
        admin = admin_app(self.live, self.ready, metrics)
        self._http = HttpServer(admin, *split(self._settings.http_listen))
        self.http_address = await self._http.start()

    async def _bring_up(self) -> None:
        """Fetches the model, starts the engine, and proves the weights."""
        order, drafter = await self._attachment.start_orders()
        if order.update_id:
            self._weight_updates.start_on(order)
        if drafter.update_id:
            self._speculator_updates.start_on(drafter)
        try:
            model = await self._supply.fetch(order, drafter.version)
            log.info("starting %s on %s@%s", self._pool.engine.kind, model.manifest.model, model.manifest.version)
            node = await self._supply.gather(model, split(self._public_address)[0])
            await self.engine.start(model, node)
            await self._prove(model.manifest)
        except (RefusedModel, WrongManifest, UnknownVersion, EngineDead, NotProven, OSError) as error:
            if order.update_id:
                self._weight_updates.fail_to_start(order, str(error))
            if drafter.update_id:
                self._speculator_updates.fail_to_start(drafter, str(error))
            if order.update_id or drafter.update_id:
                await self._clock.sleep(_TELL_S)
            self._fail(str(error))
            return
        if self._adapters:
            await self._adapters.begin(model.manifest)
        self._on_loaded()
        self._weight_updates.begin(model, order if order.update_id else None)
        if drafter.update_id:
            self._speculator_updates.started_on(drafter)
        self.status.loaded(self.engine.info)
        log.info("ready: %s", self.engine.info)

    async def _fetch_version(self, version: str, in_use: Collection[Path], watcher: Watcher | None = None) -> Model:
        """Brings a version to the disk of every node. What is staged ahead of its rollout stays there too."""
        return await self._supply.fetch_version(version, {*in_use, *self._standby.folders}, watcher)

    async def _fetch_drafter(
        self, version: str, target: Manifest, in_use: Collection[Path], watcher: Watcher | None = None
    ) -> Drafter:
        return await self._supply.fetch_drafter(version, target, {*in_use, *self._standby.folders}, watcher)

    async def _stage_drafter(self, version: str, in_use: Collection[Path], watcher: Watcher | None = None) -> Drafter:
        """Raises RefusedModel too: nothing is served yet."""
        if (serving := self._weight_updates.serving) is None:
            raise RefusedModel("the worker has no model yet")
        return await self._fetch_drafter(version, serving.manifest, in_use, watcher)

    async def _prove(self, manifest: Manifest) -> None:
        """Raises NotProven with the name of the version, or EngineDead when the engine takes too long."""
        began = self._clock.monotonic()
        proof = prove(self.engine, manifest, "start")
        try:
            proved = await bounded(proof, "answer its golden prompts", self._settings.swap_limit_s)
        except NotProven as error:
            raise NotProven(f"{manifest.model}@{manifest.version} does not run as it was published: {error}") from None
        log.info("the proof took %.2f s", self._clock.monotonic() - began)
        self.status.golden_proved = proved

    async def _watch(self) -> None:
        """Checks the engine regularly and sets the worker's state."""
        watch = StepWatch(self._clock.monotonic())
        while self.failure is None:
            await self._clock.sleep(_WATCH_S)
            if self.engine.death and self.status.state is not State.LOADING:
                self._fail(self.engine.death)
            else:
                self._check_progress(watch.still_s(self.engine.load(), self._clock.monotonic()))

    def _check_progress(self, still_s: float) -> None:
        """Sets the state for an engine that has had work for `still_s` seconds without finishing a step."""
        limit_s = self._settings.stuck_after_s
        if still_s >= 2 * limit_s:
            self._fail(f"the engine has finished no step for {still_s:.0f} s")
        elif still_s >= limit_s:
            if self.status.state is State.READY:
                log.error("the engine has finished no step for %.0f s", still_s)
                self.status.enter(State.STUCK)
        elif self.status.state is State.STUCK:
            log.warning("the engine moves again")
            self.status.enter(State.READY)

    def _fail(self, reason: str) -> None:
        log.error("this worker cannot go on: %s", reason)
        self.failure = self.failure or reason
        self.status.enter(State.STUCK)
        self.ended.set()

    def _fail_with(self, task: asyncio.Task[None]) -> None:
        """Ends the worker when one of its own tasks fails; the supervisor restarts the process."""
        if not task.cancelled() and (error := task.exception()):
            self._fail(f"{task.get_name()}: {error!r}")

    def _update_on_request(self, order: UpdateOrder) -> None:
        if order.speculator:
            if self._speculator_updates.accept(order):
                self._tasks.start(self._update_speculator(order), "speculator-update")
        elif self._weight_updates.accept(order):
            self._tasks.start(self._update(order), "weight-update")

    async def _update_speculator(self, order: UpdateOrder) -> None:
        await self._speculator_updates.run(order)
        self._standby.rolled()

    async def _update(self, order: UpdateOrder) -> None:
        await self._weight_updates.run(order)
        self._standby.rolled()

    def _stage_on_request(self, order: StageOrder) -> None:
        if self._standby.accept(order):
            self._tasks.start(self._standby.run(order), "standby")

    def _drain_on_request(self, limit_s: float | None) -> None:
        if self.status.state is not State.DRAINING:
            self._tasks.start(self._drain_and_end(self._settings.drain_s if limit_s is None else limit_s), "drain")

    async def _drain_and_end(self, limit_s: float) -> None:
        await self._drain(limit_s)
        self.ended.set()

    async def _drain(self, limit_s: float) -> None:
        """Lets running requests finish within `limit_s` seconds, hands over the rest, and says goodbye."""
        if self.failure is None:
            self.status.enter(State.DRAINING)
            if not await self._idle_within(limit_s):
                log.warning("handing over %d requests", self.status.requests)
                self._service.hand_over()
                await self._idle_within(_HAND_OVER_S)
        self._attachment.leave()
        try:
            async with asyncio.timeout(_GOODBYE_S):
                await self._attachment.left.wait()
        except TimeoutError:
            log.warning("left without a goodbye: no router answered")

    async def _idle_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self.status.idle()
        except TimeoutError:
            return False
        return True
