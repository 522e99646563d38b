"""Wires the gateway: what talks to what, and in which order it starts and stops."""

import asyncio
import os
import socket
from importlib.metadata import version
from random import Random, SystemRandom

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from services.gateway.accounting import Accounting
from services.gateway.batching import Batching
from services.gateway.domain.secrets import CacheSalt, ServerSecret
from services.gateway.generation.generation_stream import Generations
from services.gateway.grpc.call import Calls
from services.gateway.grpc.open_inference import OpenInferenceService
from services.gateway.grpc.server import InferenceServer
from services.gateway.grpc.service import InferenceService
from services.gateway.http import openapi
from services.gateway.http.connection.protocol import HttpProtocol
from services.gateway.http.idempotency.idempotency import Idempotency
from services.gateway.http.middleware.access import AccessMiddleware
from services.gateway.http.middleware.fast_routes import FastRoutes
from services.gateway.http.routes.cluster import ClusterRoutes
from services.gateway.http.routes.console import ConsoleFiles
from services.gateway.http.routes.inference import Bounds, InferenceRoutes
from services.gateway.http.routes.open_inference import OPEN, OpenInferenceRoutes
from services.gateway.http.routes.stored import unconfigured
from services.gateway.metrics import Metrics
from services.gateway.open_inference import OpenInference
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.response_cache.store import ResponseStore
from services.gateway.resume.resume_log import ResumeLogs
from services.gateway.resume.resuming import Resuming
from services.gateway.settings import GatewaySettings
from services.gateway.upstream.control_client import ControlClient
from services.gateway.upstream.log_reader import LogReader
from services.gateway.upstream.router_client import RouterClient
from services.gateway.upstream.tokenizer_client import TokenizerClient
from services.gateway.upstream.worker_client import WorkerClient
from services.shared import config, objectstore
from services.shared.clock import Clock, SystemClock
from services.shared.http import HttpServer
from services.shared.lifecycle import Tasks
from services.shared.settings import split
from services.shared.telemetry import admin_app

HEALTH_INTERVAL_S = 0.25
KEEP_ALIVE_S = 75
MIB = 2**20


class GatewayApp:
    def __init__(self, settings: GatewaySettings, *, clock: Clock | None = None, random: Random | None = None) -> None:
        """Raises WrongSettings."""
        self._settings, self._cluster = settings, config.load(settings.config)
        self._clock, self._random = clock or SystemClock(), random or SystemRandom()
        self._id = f"gateway-{socket.gethostname()}-{os.getpid()}"
        self._draining = False
        self._tasks = Tasks()
        self.metrics = Metrics(CollectorRegistry())
        self.accounting = Accounting(
            settings, self._cluster.prices, self.metrics.registry, clock=self._clock, random=self._random
        )
        self.router, self.workers = self._clients()
        self._idempotency = Idempotency(self._clock, settings.stall_timeout_s)
        self._journal = ResumeLogs(self.router, LogReader(settings.routers, settings.tls()), self._clock)
        self._batching: Batching | None = None
        self._http, self._grpc = self._faces()
        self._scraped = self._face_for_scraping()
        self.address = self.http_address = self.metrics_address = ""

    async def start(self) -> None:
        """Raises OSError or RuntimeError when an address is taken. Needs no router to start."""
        await self.accounting.start()
        self.http_address = await self._http.start()
        if self._scraped:
            self.metrics_address = await self._scraped.start()
        self.address = await self._grpc.start(*split(self._settings.listen))
        await self.router.start()
        await self.workers.start()
        await self._journal.start()
        if self._batching:
            await self._batching.start()
        self._tasks.start(self._tell_health(), "gRPC health")

    async def stop(self) -> None:
        """Is no longer ready; then takes nothing new, finishes what is open within drain_s, and says goodbye."""
        self._draining = True
        await self._clock.sleep(self._settings.linger_s)
        if self._batching:
            await self._batching.stop()
        await asyncio.gather(self._http.stop(), self._grpc.stop())
        await self._idempotency.stop()
        await self._journal.stop()
        await self._tasks.stop()
        await self.workers.stop()
        await self.router.stop()
        await self.accounting.stop()
        if self._scraped:
            await self._scraped.stop()

    def ready(self) -> str | None:
        """None when ready, else why not."""
        if self._draining:
            return "draining"
        if not self.router.connected:
            return "no connection to a router"
        if self.router.catalog is None:
            return "the router has not said yet what there is to serve"
        return None

    def _clients(self) -> tuple[RouterClient, WorkerClient]:
        settings, clock = self._settings, self._clock
        router = RouterClient(
            settings.routers,
            self._id,
            clock=clock,
            random=self._random,
            tls=settings.tls(),
            patience_s=settings.router_patience_s,
        )
        return router, WorkerClient(self._id, clock=clock, tls=settings.tls())

    def _faces(self) -> tuple[HttpServer, InferenceServer]:
        settings, clock = self._settings, self._clock
        keys = self.accounting.authentication
        tokenizing = TokenizerClient(self._random, settings.tls())
        asking = RequestBuilder(
            lambda: self.router.catalog, clock, settings.request_timeout_s, self._cache_salt(), tokenizing
        )
        answers = Generations(
            self.router,
            self.workers,
            clock=clock,
            metrics=self.metrics,
            books=self.accounting.ledger,
            max_open=settings.max_open_requests,
        )
        bounds = Bounds(settings.max_body_bytes, settings.body_timeout_s, settings.stall_timeout_s)
        resuming = Resuming(self._cluster, self._secret(), self._journal, lambda: self.router.catalog)
        cached = self._cached(answers)
        api = InferenceRoutes(
            asking, cached, self._idempotency, resuming, self.metrics, bounds, live=lambda: None, ready=self.ready
        )
        rest = api.app()
        console = ConsoleFiles()
        told = OpenInference(version("tidegate"), asking.catalog, self.ready)
        rest.include_router(OpenInferenceRoutes(told).routes())
        for routes in (*self.accounting.routes(), *self._batch_routes(asking, answers), *self._console_routes(console)):
            rest.include_router(routes)
        openapi.complete(rest)
        direct = FastRoutes(api.endpoints(), rest)
        front = AccessMiddleware(direct, keys, self.metrics, clock, self._random, open_paths=console.paths | OPEN)
        calls = Calls(keys, self.metrics, clock, self._random)
        service = InferenceService(calls, asking, cached, resuming, settings.stall_timeout_s)
        open_inference = OpenInferenceService(calls, told)
        grpc = InferenceServer(
            service, open_inference, calls, max_message_bytes=settings.max_body_bytes, drain_s=settings.drain_s
        )
        return self._http_server(front), grpc

    def _http_server(self, front: AccessMiddleware) -> HttpServer:
        return HttpServer(
            front,
            *split(self._settings.http_listen),
            drain_s=self._settings.drain_s,
            http=HttpProtocol,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
        )

    def _cached(self, answers: Generations) -> CachedGenerations:
        wanted = {pool.name: pool.response_cache for pool in self._cluster.pools if pool.response_cache}
        stores = {name: ResponseStore(cache.max_mib * MIB, cache.ttl_s, self._clock) for name, cache in wanted.items()}
        books, registry = self.accounting.ledger, self.metrics.registry
        return CachedGenerations(answers, stores, lambda: self.router.catalog, books, self._clock, registry)

    def _console_routes(self, console: ConsoleFiles) -> list[APIRouter]:
        control = ControlClient(self._settings.routers, self._settings.tls())
        return [console.routes(), ClusterRoutes(self._id, control, self.metrics, self._clock).routes()]

    def _batch_routes(self, asking: RequestBuilder, answers: Generations) -> list[APIRouter]:
        settings = self._settings
        if (store := settings.store()) is None:
            return [unconfigured()]
        self._batching = Batching(
            objectstore.connect(store),
            settings,
            asking,
            answers,
            self.accounting.authentication.still,
            clock=self._clock,
            random=self._random,
        )
        return self._batching.routes()

    def _cache_salt(self) -> CacheSalt:
        return CacheSalt(self._secret(), shared=self._cluster.prefix_cache == "shared")

    def _secret(self) -> ServerSecret:
        return ServerSecret(self._settings.server_secret.get_secret_value())

    def _face_for_scraping(self) -> HttpServer | None:
        if not self._settings.metrics_listen:
            return None
        return HttpServer(
            admin_app(lambda: None, self.ready, self.metrics.registry), *split(self._settings.metrics_listen)
        )

    async def _tell_health(self) -> None:
        while True:
            await self._grpc.tell_health(ready=self.ready() is None)
            await self._clock.sleep(HEALTH_INTERVAL_S)
