"""Wires the gateway: which part uses which, and in which order they start and stop."""

import asyncio
import os
import socket
from importlib.metadata import version
from random import Random, SystemRandom

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from services.gateway.accounting import Accounting
from services.gateway.background.background_responses import BackgroundResponses
from services.gateway.batches.service import BatchService
from services.gateway.domain.secrets import CacheSalt, ServerSecret
from services.gateway.generation.generation_stream import Generations
from services.gateway.grpc.call import Calls
from services.gateway.grpc.open_inference import OpenInferenceService
from services.gateway.grpc.server import InferenceServer
from services.gateway.grpc.service import InferenceService
from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.protocol import HttpProtocol
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.idempotency.idempotency import Idempotency
from services.gateway.http.middleware.access import OPEN_PATHS, AccessMiddleware
from services.gateway.http.middleware.cors import with_cors
from services.gateway.http.rest_api import rest_api
from services.gateway.http.routes.admin_keys import KeyRoutes
from services.gateway.http.routes.admin_rollouts import RolloutRoutes
from services.gateway.http.routes.admin_tenants import TenantRoutes
from services.gateway.http.routes.batches import BatchRoutes
from services.gateway.http.routes.chat_completions import ChatCompletionRoutes
from services.gateway.http.routes.cluster import ClusterRoutes
from services.gateway.http.routes.completions import CompletionRoutes
from services.gateway.http.routes.console import ConsoleRoutes
from services.gateway.http.routes.conversations import ConversationRoutes
from services.gateway.http.routes.embeddings import EmbeddingRoutes
from services.gateway.http.routes.files import FileRoutes
from services.gateway.http.routes.generate import GenerateRoutes
from services.gateway.http.routes.health import HealthRoutes
from services.gateway.http.routes.messages import MessageRoutes
from services.gateway.http.routes.models import ModelRoutes
from services.gateway.http.routes.open_inference import OPEN, OpenInferenceRoutes
from services.gateway.http.routes.responses import ResponseRoutes
from services.gateway.http.routes.rest_router import Routes
from services.gateway.http.routes.storage import WithoutObjectStoreRoutes
from services.gateway.http.routes.tokenize import TokenizeRoutes
from services.gateway.http.routes.usage import UsageRoutes
from services.gateway.metrics import Metrics, show_prices
from services.gateway.open_inference import OpenInference
from services.gateway.openai.canary_header import CanaryTenants
from services.gateway.openai.encrypted_reasoning import ReasoningSeal
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.request_reader import RequestReader
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.response_cache.store import ResponseStore
from services.gateway.resume.resume_log import ResumeLogClient
from services.gateway.resume.resuming import Resuming
from services.gateway.rollouts.history_copy import HistoryCopy
from services.gateway.settings import GatewaySettings
from services.gateway.upstream.control_client import ControlClient
from services.gateway.upstream.router_client import RouterClient
from services.gateway.upstream.tokenizer_client import TokenizerClient
from services.gateway.upstream.worker_client import WorkerClient
from services.shared import config, objectstore
from services.shared.certificate_metrics import export_certificate
from services.shared.clock import Clock, SystemClock
from services.shared.http import HttpServer
from services.shared.lifecycle import Tasks
from services.shared.settings import split
from services.shared.telemetry import admin_app
from services.shared.tracing import endpoint_of, tracing

HEALTH_INTERVAL_S = 0.25
KEEP_ALIVE_S = 75
MIB = 2**20


class GatewayApp:
    """One gateway process.

    Attributes:
        address: of gRPC, host:port, once it has started; likewise http_address and metrics_address.
    """

    def __init__(self, settings: GatewaySettings, *, clock: Clock | None = None, random: Random | None = None) -> None:
        """Wires everything. Raises WrongSettings."""
        self._settings, self._cluster = settings, config.load(settings.config)
        self._clock, self._random = clock or SystemClock(), random or SystemRandom()
        self._id = f"gateway-{socket.gethostname()}-{os.getpid()}"
        self._draining = False
        self._tasks = Tasks()
        self.metrics = Metrics(CollectorRegistry())
        export_certificate(self.metrics.registry, settings.tls())
        self._tracing = tracing(
            endpoint_of(self._cluster.traces_endpoint), "gateway", self.metrics.registry, self._clock
        )
        show_prices(self._cluster.prices, self.metrics.registry)
        self._reader = RequestReader(self.metrics, strict=self._cluster.strict_requests)
        self.accounting = Accounting(settings, self.metrics.registry, clock=self._clock, random=self._random)
        self.router, self.workers = self._clients()
        self._idempotency = Idempotency(self._clock, settings.stall_timeout_s)
        self._resume_log = ResumeLogClient(self.router, ControlClient(settings.routers, settings.tls()), self._clock)
        self._batches: BatchService | None = None
        self._background: BackgroundResponses | None = None
        self._http, self._grpc = self._servers()
        self._metrics_http = self._metrics_server()
        self.address = self.http_address = self.metrics_address = ""

    async def start(self) -> None:
        """Starts to listen and to connect. Raises OSError or RuntimeError when an address is taken."""
        await self.accounting.start()
        self.http_address = await self._http.start()
        if self._metrics_http:
            self.metrics_address = await self._metrics_http.start()
        self.address = await self._grpc.start(*split(self._settings.listen))
        await self.router.start()
        await self.workers.start()
        await self._resume_log.start()
        if self._batches:
            await self._batches.start()
        if self._background:
            self._tasks.start(self._background.run(), "background responses")
        self._tasks.start(self._history_copy().run(), "history of rollouts")
        self._tasks.start(self._report_health(), "gRPC health")

    async def stop(self) -> None:
        """Drains: is no longer ready, accepts no new requests, ends open ones within drain_s, and disconnects."""
        self._draining = True
        await self._clock.sleep(self._settings.linger_s)
        if self._batches:
            await self._batches.stop()
        background = [self._background.stop()] if self._background else []
        await asyncio.gather(self._http.stop(), self._grpc.stop(), *background)
        await self._idempotency.stop()
        await self._resume_log.stop()
        await self._tasks.stop()
        await self.workers.stop()
        await self.router.stop()
        await self.accounting.stop()
        if self._tracing:
            await self._tracing.stop()
        if self._metrics_http:
            await self._metrics_http.stop()

    def ready(self) -> str | None:
        """Returns None when the gateway is ready, else why it is not.

        While it changes from one router to another, it stays ready, because requests only wait then. All gateways lose
        a router at the same time: a load balancer would have none left.
        """
        if self._draining:
            return "draining"
        if not self.router.available:
            return "no connection to a router"
        if self.router.catalog is None:
            return "the router has not said yet what there is to serve"
        return None

    def _history_copy(self) -> HistoryCopy:
        settings = self._settings
        control = ControlClient(settings.routers, settings.tls())
        return HistoryCopy([pool.name for pool in self._cluster.pools], control, self.accounting.rollouts, self._clock)

    def _clients(self) -> tuple[RouterClient, WorkerClient]:
        settings, clock = self._settings, self._clock
        router = RouterClient(
            settings.routers,
            self._id,
            clock=clock,
            random=self._random,
            tls=settings.tls(),
            reconnect_timeout_s=settings.router_patience_s,
        )
        return router, WorkerClient(self._id, clock=clock, tls=settings.tls())

    def _servers(self) -> tuple[HttpServer, InferenceServer]:
        settings, clock = self._settings, self._clock
        keys = self.accounting.authentication
        tokenizer = TokenizerClient(self._random, settings.tls())
        builder = RequestBuilder(
            lambda: self.router.catalog,
            clock,
            settings.request_timeout_s,
            self._cache_salt(),
            tokenizer,
            self._reader,
            ReasoningSeal(self._secret()),
            CanaryTenants.of_pools(self._cluster.pools),
        )
        generations = Generations(
            self.router,
            self.workers,
            clock=clock,
            metrics=self.metrics,
            ledger=self.accounting.ledger,
            max_open=settings.max_open_requests,
            tracing=self._tracing,
        )
        self._batches = self._batch_service(builder, generations)
        self._background = self._background_responses(generations)
        resuming = Resuming(self._cluster, self._secret(), self._resume_log, lambda: self.router.catalog)
        cached = self._with_cache(generations)
        console = ConsoleRoutes()
        open_inference = OpenInference(version("tidegate"), builder.catalog, self.ready)
        routes = self._rest_routes(builder, cached, resuming, open_inference, console)
        open_paths = OPEN_PATHS | OPEN | console.paths
        rest = rest_api((resource.router() for resource in routes), open_paths)
        app = AccessMiddleware(rest, keys, self.metrics, clock, self._random, open_paths=open_paths)
        calls = Calls(keys, self.metrics, clock, self._random)
        service = InferenceService(calls, builder, cached, resuming, settings.stall_timeout_s)
        grpc_open_inference = OpenInferenceService(calls, open_inference)
        grpc = InferenceServer(
            service,
            grpc_open_inference,
            calls,
            max_message_bytes=settings.max_body_bytes,
            min_ping_s=settings.grpc_min_ping_s,
            drain_s=settings.drain_s,
        )
        return self._http_server(with_cors(app, self._cluster.cors_origins)), grpc

    def _http_server(self, app: ASGIApp) -> HttpServer:
        return HttpServer(
            app,
            *split(self._settings.http_listen),
            drain_s=self._settings.drain_s,
            http=HttpProtocol,
            ws="none",
            timeout_keep_alive=KEEP_ALIVE_S,
        )

    def _with_cache(self, generations: Generations) -> CachedGenerations:
        stores = {
            pool.name: ResponseStore(cache.max_mib * MIB, cache.ttl_s, self._clock)
            for pool in self._cluster.pools
            if (cache := pool.response_cache)
        }
        ledger, registry = self.accounting.ledger, self.metrics.registry
        return CachedGenerations(generations, stores, lambda: self.router.catalog, ledger, registry)

    def _rest_routes(
        self,
        builder: RequestBuilder,
        cached: CachedGenerations,
        resuming: Resuming,
        open_inference: OpenInference,
        console: ConsoleRoutes,
    ) -> list[Routes]:
        """All routes of the REST API, in the order in which the OpenAPI document lists them."""
        settings, clock, administration = self._settings, self._clock, self.accounting.administration
        bodies = BodyReader(settings.max_body_bytes, settings.body_timeout_s)
        handler = GenerationHandler(cached, self._idempotency, resuming, bodies, settings.stall_timeout_s)
        control = ControlClient(settings.routers, settings.tls())
        return [
            ChatCompletionRoutes(builder, handler),
            CompletionRoutes(builder, handler),
            GenerateRoutes(builder, handler),
            ResponseRoutes(builder, handler, self.accounting.responses, self._background),
            ConversationRoutes(builder, bodies, self.accounting.responses),
            MessageRoutes(builder, handler, bodies),
            TokenizeRoutes(builder, bodies),
            EmbeddingRoutes(builder, handler),
            ModelRoutes(builder),
            HealthRoutes(self.metrics.registry, version("tidegate"), live=lambda: None, ready=self.ready),
            OpenInferenceRoutes(open_inference),
            KeyRoutes(administration),
            TenantRoutes(administration),
            RolloutRoutes(self.accounting.rollouts),
            UsageRoutes(self.accounting.usage_rows, self._cluster.prices, clock),
            *self._batch_routes(),
            console,
            ClusterRoutes(self._id, control, self.metrics, clock),
        ]

    def _batch_routes(self) -> list[Routes]:
        if self._batches is None:
            return [WithoutObjectStoreRoutes()]
        settings, files, batches = self._settings, self._batches.files, self._batches.batches
        return [
            FileRoutes(files, max_bytes=settings.max_file_bytes, timeout_s=settings.body_timeout_s),
            BatchRoutes(batches, files, self._reader, self._clock, self._random.getrandbits),
        ]

    def _batch_service(self, builder: RequestBuilder, generations: Generations) -> BatchService | None:
        if (store := self._settings.store()) is None:
            return None
        return BatchService(
            objectstore.connect(store),
            builder,
            generations,
            self.accounting.authentication.authenticate_id,
            concurrency=self._settings.batch_concurrency,
            clock=self._clock,
            random=self._random,
        )

    def _background_responses(self, generations: Generations) -> BackgroundResponses | None:
        if (store := self.accounting.responses) is None:
            return None
        return BackgroundResponses(generations, store, self._clock, self._settings.drain_s)

    def _cache_salt(self) -> CacheSalt:
        return CacheSalt(self._secret(), shared=self._cluster.prefix_cache == "shared")

    def _secret(self) -> ServerSecret:
        return ServerSecret(self._settings.server_secret.get_secret_value())

    def _metrics_server(self) -> HttpServer | None:
        if not self._settings.metrics_listen:
            return None
        return HttpServer(
            admin_app(lambda: None, self.ready, self.metrics.registry), *split(self._settings.metrics_listen)
        )

    async def _report_health(self) -> None:
        while True:
            await self._grpc.tell_health(ready=self.ready() is None)
            await self._clock.sleep(HEALTH_INTERVAL_S)
