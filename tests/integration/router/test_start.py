"""A router without Redis: it is alive and not ready, and it ends when it is told to."""

import asyncio
from pathlib import Path

import httpx

from services.local.ports import Ports
from services.router.app import run
from services.router.settings import RouterSettings
from tests.integration.router.conftest import CONFIG
from tests.support.wait import wait_until


async def test_without_redis_it_lives_is_not_ready_and_stops(tmp_path: Path, ports: Ports) -> None:
    stop = asyncio.Event()
    told = settings(tmp_path, ports)
    router = asyncio.create_task(run(told, stop))
    async with httpx.AsyncClient(base_url=f"http://{told.http_listen}") as http:
        await wait_until(lambda: is_alive(http), description="it answers /livez")
        assert (await http.get("/readyz")).status_code == 503
    stop.set()
    async with asyncio.timeout(20):
        await router


async def is_alive(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/livez")).status_code == 200
    except httpx.ConnectError:
        return False


def settings(folder: Path, ports: Ports) -> RouterSettings:
    config = folder / "tidegate.yaml"
    config.write_text(CONFIG)
    return RouterSettings(
        config=config,
        listen=f"127.0.0.1:{ports.free()}",
        http_listen=f"127.0.0.1:{ports.free()}",
        redis_url=f"redis://127.0.0.1:{ports.free()}/0",
    )
