"""Traefik with the files of docker-compose.yml, but for ports: what it lets through, and its health check."""

import asyncio
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from random import Random

import httpx
import pytest
import yaml

from services.local.ports import Ports
from tests.robustness.gateways.balancer import PROGRAM, found
from tests.support.wait import wait_until

SOURCE = Path("docker/traefik")
OTHERS = 10
READY = "/readyz"


@contextmanager
def running(folder: Path, gateway: str | None = None) -> Iterator[tuple[str, Path]]:
    """Yields the URL of its REST entry point, and its file of settings. gateway: URL of one that is behind it."""
    settings = yaml.safe_load((SOURCE / "traefik.yml").read_text())
    routes = yaml.safe_load((SOURCE / "routes/gateways.yml").read_text())
    if gateway:
        for name in ("rest", "rest-any"):
            routes["http"]["services"][name]["loadBalancer"]["servers"] = [{"url": gateway}]
    (folder / "routes").mkdir()
    (folder / "routes/gateways.yml").write_text(yaml.safe_dump(routes))
    settings["providers"]["file"]["directory"] = str(folder / "routes")
    with Ports(Random()) as ports:
        for name, entry in settings["entryPoints"].items():
            host = entry["address"].rpartition(":")[0] or "127.0.0.1"
            assert host == "127.0.0.1", f"{name} listens on all addresses only inside its container"
            entry["address"] = f"{host}:{ports.free()}"
        file = folder / "traefik.yml"
        file.write_text(yaml.safe_dump(settings))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([found() or PROGRAM, f"--configfile={file}"], stdout=log, stderr=log)
        try:
            yield f"http://{settings['entryPoints']['rest']['address']}", file
        finally:
            process.terminate()
            process.wait(10)


def is_healthy(file: Path) -> bool:
    asked = subprocess.run([found() or PROGRAM, "healthcheck", f"--configfile={file}"], capture_output=True, timeout=30)
    return asked.returncode == 0


@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_it_is_healthy_and_lets_only_public_paths_through(tmp_path: Path) -> None:
    with running(tmp_path) as (url, file):
        await wait_until(partial(is_healthy, file), description="Traefik is healthy", timeout=60)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:

            async def status(path: str) -> int:
                return (await client.get(path)).status_code

            async def routed() -> bool:
                return await status("/v1/models") == 502

            await wait_until(routed, description="it has its routes, and no gateway", timeout=30)
            public = ["/", "/docs", "/openapi.json", "/console/", "/v1/chat/completions", "/v2", "/v2/health/ready"]
            assert [path for path in public if await status(path) != 502] == []
            inside = ["/metrics", "/readyz", "/livez", "/docs/x", "/v2x", "/ping"]
            assert [path for path in inside if await status(path) != 404] == []
    assert not is_healthy(file)


class Gateway:
    """Answers each request with the length of its body, and every check with 503, as one that is not ready.

    Attributes:
        begun: the paths of requests whose headers have come.
    """

    def __init__(self) -> None:
        self.begun: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await heading(reader):
            self.begun.append(head.split()[1])
            length = re.search(r"(?i)content-length: (\d+)", head)
            answer = str(len(await reader.readexactly(int(length[1]) if length else 0)))
            status = "503 Service Unavailable" if self.begun[-1] == READY else "200 OK"
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: {len(answer)}\r\n\r\n{answer}".encode())
        writer.close()


async def heading(reader: asyncio.StreamReader) -> str:
    """Up to the body; empty at the end of the connection."""
    try:
        return (await reader.readuntil(b"\r\n\r\n")).decode()
    except asyncio.IncompleteReadError:
        return ""


@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_a_gateway_sees_no_request_before_its_end(tmp_path: Path) -> None:
    """Else Traefik may cut the answer off: docs/deploy.md tells how."""
    gateway = Gateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    limit = yaml.safe_load((SOURCE / "routes/gateways.yml").read_text())["http"]["middlewares"]["whole"]["retry"]
    async with server, httpx.AsyncClient(trust_env=False) as client:
        with running(tmp_path, f"http://{address}") as (url, _):

            async def length(path: str, size: int) -> int:
                """What the gateway got of a body of this size; 0 where no gateway answered."""
                answer = await client.post(f"{url}/v1/{path}", content=b"x" * size)
                return int(answer.text) if answer.status_code == 200 else 0

            async def routed() -> bool:
                try:
                    return await length("first", 1) == 1
                except httpx.ConnectError:
                    return False

            await wait_until(routed, description="it has its routes", timeout=30)
            size = limit["maxRequestBodyBytes"]
            reader, writer = await asyncio.open_connection(*address_of(url))
            writer.write(f"POST /v1/slow HTTP/1.1\r\nHost: tide\r\nContent-Length: {size}\r\n\r\nx".encode())
            # Whatever Traefik sends on at once would be there before all of these are answered.
            assert [await length("others", size) for _ in range(OTHERS)] == [size] * OTHERS
            assert "/v1/slow" not in gateway.begun
            writer.write(b"x" * (size - 1))
            assert "200" in (await heading(reader)).splitlines()[0]
            assert await reader.readexactly(len(str(size))) == str(size).encode()
            writer.close()
            # Larger ones pass as they come.
            assert await length("large", 3 * size) == 3 * size


@pytest.mark.skipif(found() is None, reason=f"no {PROGRAM} on this machine")
async def test_a_gateway_that_seems_not_ready_is_asked_where_no_other_is(tmp_path: Path) -> None:
    gateway = Gateway()
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0)
    address = "{}:{}".format(*server.sockets[0].getsockname())
    async with server, httpx.AsyncClient(trust_env=False) as client:
        with running(tmp_path, f"http://{address}") as (url, _):
            # The second check begins after Traefik has noted the first one.
            checked_twice = lambda: gateway.begun.count(READY) >= 2  # noqa: E731
            await wait_until(checked_twice, description="Traefik knows that it is not ready", timeout=60)
            answer = await client.post(f"{url}/v1/chat", content=b"tide")
            assert (answer.status_code, answer.text) == (200, "4")


def address_of(url: str) -> tuple[str, int]:
    told = httpx.URL(url)
    assert told.port
    return told.host, told.port
