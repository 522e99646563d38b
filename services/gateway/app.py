"""Wires the gateway: what talks to what, and in which order it starts and stops."""

import asyncio
import os
import socket
from random import Random, SystemRandom

from prometheus_client import CollectorRegistry

from services.gateway.answer import Answers
from services.gateway.asking import Asking
from services.gateway.keys import Keys
from services.gateway.metrics import Metrics
from services.gateway.rest.api import Api, Bounds
from services.gateway.rest.front import Front
from services.gateway.rest.protocol import HttpProtocol
from services.gateway.router_client import RouterClient
from services.gateway.rpc.call import Calls
from services.gateway.rpc.server import InferenceServer
from services.gateway.rpc.service import InferenceService
from services.gateway.settings import GatewaySettings
from services.gateway.worker_client import WorkerClient
from services.shared.clock import Clock, SystemClock
from services.shared.http import HttpServer
from services.shared.lifecycle import Tasks
from services.shared.settings import split

HEALTH_INTERVAL_S = 0.25
KEEP_ALIVE_S = 75


class GatewayApp:
    def __init__(self, settings: GatewaySettings, *, clock: Clock | None = None, random: Random | None = None) -> None:
        self._settings = settings
        self._clock, self._random = clock or SystemClock(), random or SystemRandom()
        self._draining = False
        self._tasks = Tasks()
        self.metrics = Metrics(CollectorRegistry())
        self.router, self.workers = self._clients()
        self._http, self._grpc = self._faces()
        self.address = self.http_address = ""

    async def start(self) -> None:
        """Raises OSError or RuntimeError when an address is taken. Needs no router to start."""
        self.http_address = await self._http.start()
        self.address = await self._grpc.start(*split(self._settings.listen))
        await self.router.start()
        await self.workers.start()
        self._tasks.start(self._tell_health(), "gRPC health")

    async def stop(self) -> None:
        """Takes nothing new, finishes what is open within the servers' grace, then says goodbye."""
        self._draining = True
        await asyncio.gather(self._http.stop(), self._grpc.stop())
        await self._tasks.stop()
        await self.workers.stop()
        await self.router.stop()

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
        gateway_id = f"gateway-{socket.gethostname()}-{os.getpid()}"
        router = RouterClient(
            settings.routers,
            gateway_id,
            clock=clock,
            random=self._random,
            tls=settings.tls(),
            patience_s=settings.router_patience_s,
        )
        return router, WorkerClient(gateway_id, clock=clock, tls=settings.tls())

    def _faces(self) -> tuple[HttpServer, InferenceServer]:
        settings, clock = self._settings, self._clock
        keys = Keys(settings.api_key.get_secret_value(), settings.admin_key.get_secret_value())
        asking = Asking(lambda: self.router.catalog, clock, settings.request_timeout_s)
        answers = Answers(
            self.router, self.workers, clock=clock, metrics=self.metrics, max_open=settings.max_open_requests
        )
        bounds = Bounds(settings.max_body_bytes, settings.body_timeout_s, settings.stall_timeout_s)
        api = Api(asking, answers, self.metrics, bounds, live=lambda: None, ready=self.ready)
        front = Front(api.app(), keys, self.metrics, clock, self._random)
        service = InferenceService(Calls(keys, self.metrics, clock, self._random), asking, answers)
        return (
            HttpServer(
                front, *split(settings.http_listen), http=HttpProtocol, ws="none", timeout_keep_alive=KEEP_ALIVE_S
            ),
            InferenceServer(service, max_message_bytes=settings.max_body_bytes),
        )

    async def _tell_health(self) -> None:
        while True:
            await self._grpc.tell_health(ready=self.ready() is None)
            await self._clock.sleep(HEALTH_INTERVAL_S)
