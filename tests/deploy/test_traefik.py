"""Traefik with the files of docker-compose.yml, but for ports: what it lets through, and its health check."""

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


@contextmanager
def running(folder: Path) -> Iterator[tuple[str, Path]]:
    """Yields the URL of its REST entry point, and its file of settings. No gateway is behind it."""
    settings = yaml.safe_load((SOURCE / "traefik.yml").read_text())
    settings["providers"]["file"]["directory"] = str((SOURCE / "routes").absolute())
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
                return await status("/v1/models") == 503

            await wait_until(routed, description="it has its routes, and no gateway", timeout=30)
            public = ["/", "/docs", "/openapi.json", "/console/", "/v1/chat/completions", "/v2", "/v2/health/ready"]
            assert [path for path in public if await status(path) != 503] == []
            inside = ["/metrics", "/readyz", "/livez", "/docs/x", "/v2x", "/ping"]
            assert [path for path in inside if await status(path) != 404] == []
    assert not is_healthy(file)
