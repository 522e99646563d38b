"""A real gateway between a fake router and fake workers, and real clients before it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.shared import settings as shared_settings
from tests.support.fakes import FakeRouter, FakeWorker
from tests.support.plain_http import no_certificates
from tests.support.wait import wait_until

KEY = "inference-key-for-tests"
ADMIN_KEY = "administrator-key-for-tests"


SERVER_SECRET = "server-secret-that-only-tests-may-know"

# What every gateway of a test is told; `data_dir` is put in by the fixture of that name.
TOLD: dict[str, Any] = {
    "config": Path("tidegate.yaml"),
    "listen": "127.0.0.1:0",
    "http_listen": "127.0.0.1:0",
    "api_key": KEY,
    "admin_key": ADMIN_KEY,
    "server_secret": SERVER_SECRET,
}


def settings(*routers: str, **changes: Any) -> GatewaySettings:
    return shared_settings.check(GatewaySettings, {**TOLD, "routers": ",".join(routers), **changes})


@pytest.fixture(autouse=True)
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One for all gateways of a test, as on one machine."""
    monkeypatch.setitem(TOLD, "data_dir", tmp_path / "gateway")
    return tmp_path / "gateway"


@dataclass
class Cluster:
    gateway: GatewayApp
    router: FakeRouter
    worker: FakeWorker
    # Any: its overloads would want every test's literals spelled out as typed dictionaries.
    openai: Any
    http: httpx.AsyncClient
    channel: grpc.aio.Channel

    async def idle(self) -> None:
        """Every attempt was finished once: nothing is left at router or gateway."""
        asked = {(submit.request_id, submit.attempt) for submit in self.router.submits}
        await wait_until(lambda: len(self.router.finishes) >= len(asked), description="all attempts are finished")
        told = [(finish.request_id, finish.attempt) for finish in self.router.finishes]
        assert sorted(told) == sorted(asked)


Started = Callable[..., Any]


@pytest.fixture
async def start() -> AsyncIterator[Started]:
    """Starts what a test names and stops it all after the test."""
    async with AsyncExitStack() as stack:

        async def _start(thing: Any) -> Any:
            await thing.start()
            stack.push_async_callback(thing.stop)
            return thing

        yield _start


@pytest.fixture
async def worker(start: Started) -> FakeWorker:
    started: FakeWorker = await start(FakeWorker())
    return started


@pytest.fixture
async def router(start: Started, worker: FakeWorker) -> FakeRouter:
    started: FakeRouter = await start(FakeRouter(worker))
    return started


@pytest.fixture
async def cluster(start: Started, worker: FakeWorker, router: FakeRouter) -> AsyncIterator[Cluster]:
    gateway: GatewayApp = await start(GatewayApp(settings(router.address), random=Random(1)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    base = f"http://{gateway.http_address}"
    async with (
        httpx.AsyncClient(
            base_url=base, headers={"authorization": f"Bearer {KEY}"}, timeout=20, verify=no_certificates()
        ) as http,
        DefaultAsyncHttpxClient(verify=no_certificates()) as under,
        AsyncOpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0, timeout=20, http_client=under) as openai,
        grpc.aio.insecure_channel(gateway.address) as channel,
    ):
        yield Cluster(gateway, router, worker, openai, http, channel)


@pytest.fixture
async def storing(cluster: Cluster) -> Cluster:
    """A cluster whose database has been reached."""

    async def reached() -> bool:
        return (await cluster.http.get(f"/v1/responses/resp_{'0' * 32}")).status_code == 404

    await wait_until(reached, description="the database has been reached", timeout=60)
    return cluster


def client_of(gateway: GatewayApp, key: str = KEY) -> Any:
    """OpenAI's client of one gateway."""
    under = DefaultAsyncHttpxClient(verify=no_certificates())
    base = f"http://{gateway.http_address}/v1"
    return AsyncOpenAI(base_url=base, api_key=key, max_retries=0, timeout=20, http_client=under)
