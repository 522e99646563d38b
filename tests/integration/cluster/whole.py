"""A whole cluster in the test's process: gateway, router and workers with the simulated engine, and a real Redis."""

from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
from obstore.store import MemoryStore
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from services.shared import settings as shared_settings
from services.shared.certificates import Tls
from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from services.worker.engine.contract import Engine
from services.worker.settings import WorkerSettings
from tests.integration.worker.store import publish
from tests.support.plain_http import no_certificates
from tests.support.signing import KEY
from tests.support.wait import wait_until

API_KEY = "inference-key-for-tests"
ANYWHERE = {"listen": "127.0.0.1:0", "http_listen": "127.0.0.1:0"}
START_S = 60.0


@dataclass
class WholeCluster:
    """Its processes, as objects. Every process stops at the end of the test.

    Attributes:
        keys: The keys of each process by its name, for mutual TLS; without any there is plain text.
        workers: Those that run, by name.
    """

    folder: Path
    redis_url: str
    stack: AsyncExitStack
    keys: dict[str, Tls] = field(default_factory=dict)
    tls_name: str | None = None
    store: ObjectStore = field(default_factory=lambda: ObjectStore(MemoryStore()))
    workers: dict[str, WorkerApp] = field(default_factory=dict)

    @property
    def config(self) -> Path:
        return self.folder / "tidegate.yaml"

    async def write_config(self, text: str) -> None:
        """Writes tidegate.yaml, and publishes the model `tide`."""
        self.config.write_text(text)
        await publish(self.store)

    async def router(self, name: str = "router", **given: Any) -> RouterApp:
        fast = {"no_worker_grace_ms": 0, "heartbeat_ms": 200, "upkeep_ms": 50}
        told = {"config": self.config, "redis_url": self.redis_url, **ANYWHERE, **fast, **self._tls(name), **given}
        router = RouterApp(shared_settings.check(RouterSettings, told), random=Random(1))
        await router.start()
        self.stack.push_async_callback(router.stop)
        return router

    async def gateway(self, *routers: str, name: str = "gateway", **given: Any) -> GatewayApp:
        told = {
            "config": self.config,
            "routers": routers,
            "api_key": API_KEY,
            "admin_key": "administrator-key-for-tests",
            "server_secret": "server-secret-that-only-tests-may-know",
            "data_dir": self.folder / name,
        }
        settings = shared_settings.check(GatewaySettings, {**told, **ANYWHERE, **self._tls(name), **given})
        gateway = GatewayApp(settings, random=Random(1))
        await gateway.start()
        self.stack.push_async_callback(gateway.stop)
        await wait_until(lambda: gateway.ready() is None, description="the gateway is ready", timeout=START_S)
        return gateway

    async def start_worker(self, name: str, *routers: str, engine: Engine | None = None, **given: Any) -> WorkerApp:
        told = {
            "config": self.config,
            "pool": "tide",
            "routers": routers,
            "worker_id": name,
            "cache_dir": self.folder / name,
            "s3_endpoint": "http://127.0.0.1:9",
            "s3_access_key": "none",
            "s3_secret_key": "none",
            "trusted_keys": KEY.public,
            "drain_s": 5,
        }
        settings = shared_settings.check(WorkerSettings, {**told, **ANYWHERE, **self._tls(name), **given})
        worker = WorkerApp(settings, random=Random(1), store=self.store, engine=engine)
        self.workers[name] = worker
        self.stack.push_async_callback(worker.stop)
        await worker.start()
        return worker

    async def stop_worker(self, name: str) -> None:
        """As on SIGTERM."""
        await self.workers[name].stop()
        del self.workers[name]

    def _tls(self, name: str) -> dict[str, Any]:
        if name not in self.keys:
            return {}
        files = self.keys[name]
        own = {"tls_certificate": files.certificate, "tls_key": files.key, "tls_authority": files.authority}
        return own | ({"tls_name": self.tls_name} if self.tls_name else {})


def client_of(gateway: GatewayApp) -> Any:
    """OpenAI's client of a gateway. It sends nothing twice."""
    under = DefaultAsyncHttpxClient(verify=no_certificates())
    base = f"http://{gateway.http_address}/v1"
    return AsyncOpenAI(base_url=base, api_key=API_KEY, max_retries=0, timeout=60, http_client=under)


async def metrics_of(router: RouterApp) -> dict[str, float]:
    """What the router exports, by name and labels as they are written."""
    async with httpx.AsyncClient(verify=no_certificates()) as http:
        lines = (await http.get(f"http://{router.http_address}/metrics")).text.splitlines()
    rows = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in rows}
