"""Wires the gateway: what talks to what, and in which order it starts and stops."""

import asyncio
import os
import socket
from importlib.metadata import version
from random import Random, SystemRandom

from fastapi import APIRouter
from prometheus_client import CollectorRegistry

from services.gateway.accounting import Accounting
from services.gateway.answers.answer import Answers
from services.gateway.asking.asking import Asking
from services.gateway.asking.tokenizing import Tokenizing
from services.gateway.batching import Batching
from services.gateway.cache.answers import CachedAnswers
from services.gateway.cache.store import Store
from services.gateway.console.control import Control
from services.gateway.console.files import ConsoleFiles
from services.gateway.journal.journal import Journal
from services.gateway.journal.reader import LogReader
from services.gateway.journal.resuming import Resuming
from services.gateway.links.router_client import RouterClient
from services.gateway.links.worker_client import WorkerClient
from services.gateway.metrics import Metrics
from services.gateway.open_inference import OpenInference
from services.gateway.rest import openapi
from services.gateway.rest.api import Api, Bounds
from services.gateway.rest.cluster import ClusterApi
from services.gateway.rest.direct import Direct
from services.gateway.rest.front import Front
from services.gateway.rest.idempotency.idempotency import Idempotency
from services.gateway.rest.open_inference import OPEN, OpenInferenceApi
from services.gateway.rest.protocol import HttpProtocol
from services.gateway.rest.stored import unconfigured
from services.gateway.rpc.call import Calls
from services.gateway.rpc.open_inference import OpenInferenceService
from services.gateway.rpc.server import InferenceServer
from services.gateway.rpc.service import InferenceService
from services.gateway.server_secret import CacheSalt, ServerSecret
from services.gateway.settings import GatewaySettings
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
        self._journal = Journal(self.router, LogReader(settings.routers, settings.tls()), self._clock)
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
        tokenizing = Tokenizing(self._random, settings.tls())
        asking = Asking(lambda: self.router.catalog, clock, settings.request_timeout_s, self._cache_salt(), tokenizing)
        answers = Answers(
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
        api = Api(
            asking, cached, self._idempotency, resuming, self.metrics, bounds, live=lambda: None, ready=self.ready
        )
        rest = api.app()
        console = ConsoleFiles()
        told = OpenInference(version("tidegate"), asking.catalog, self.ready)
        rest.include_router(OpenInferenceApi(told).routes())
        for routes in (*self.accounting.routes(), *self._batch_routes(asking, answers), *self._console_routes(console)):
            rest.include_router(routes)
        openapi.complete(rest)
        direct = Direct(api.endpoints(), rest)
        front = Front(direct, keys, self.metrics, clock, self._random, open_paths=console.paths | OPEN)
        calls = Calls(keys, self.metrics, clock, self._random)
        service = InferenceService(calls, asking, cached, resuming, settings.stall_timeout_s)
        open_inference = OpenInferenceService(calls, told)
        grpc = InferenceServer(
            service, open_inference, calls, max_message_bytes=settings.max_body_bytes, drain_s=settings.drain_s
        )
        return self._http_server(front), grpc

    def _http_server(self, front: Front) -> HttpServer:
        return HttpServer(
            front,
            *split(self._settings.http_listen),
            drain_s=self._settings.drain_s,
            http=HttpProtocol,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
        )

    def _cached(self, answers: Answers) -> CachedAnswers:
        wanted = {pool.name: pool.response_cache for pool in self._cluster.pools if pool.response_cache}
        stores = {name: Store(cache.max_mib * MIB, cache.ttl_s, self._clock) for name, cache in wanted.items()}
        books, registry = self.accounting.ledger, self.metrics.registry
        return CachedAnswers(answers, stores, lambda: self.router.catalog, books, self._clock, registry)

    def _console_routes(self, console: ConsoleFiles) -> list[APIRouter]:
        control = Control(self._settings.routers, self._settings.tls())
        return [console.routes(), ClusterApi(self._id, control, self.metrics, self._clock).routes()]

    def _batch_routes(self, asking: Asking, answers: Answers) -> list[APIRouter]:
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
