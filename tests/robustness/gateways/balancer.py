"""Traefik before the gateways: it asks each whether it is ready, and tries another one when one does not answer."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import yaml

from services.local.ports import Ports
from tests.support.plain_http import no_certificates

PROGRAM = "traefik"
ROUTES = Path(__file__).parents[3] / "docker/traefik/routes/gateways.yml"
CHECK = {"path": "/readyz", "interval": "500ms", "timeout": "1s"}


def found() -> str | None:
    """The path of Traefik: in this virtual environment or on PATH; None where there is none."""
    return shutil.which(PROGRAM, path=str(Path(sys.executable).parent)) or shutil.which(PROGRAM)


class Balancer:
    """A running Traefik. address: host:port for requests."""

    def __init__(self, address: str, api: str) -> None:
        self.address, self._api = address, api

    async def serving(self) -> set[str]:
        """The gateways, as host:port, that get requests now."""
        async with httpx.AsyncClient(timeout=1.0, verify=no_certificates()) as http:
            try:
                response = await http.get(f"http://{self._api}/api/http/services/rest@file")
            except httpx.HTTPError:
                return set()
        status = response.json().get("serverStatus", {}) if response.status_code == 200 else {}
        return {url.removeprefix("http://") for url, state in status.items() if state == "UP"}


@contextmanager
def balancer(folder: Path, gateways: list[str], ports: Ports) -> Iterator[Balancer]:
    """Starts Traefik, and stops it at the end. gateways: host:port of their REST interfaces."""
    if (program := found()) is None:
        raise FileNotFoundError(f"no {PROGRAM}: neither beside this Python nor on PATH")
    web, api = (f"127.0.0.1:{ports.free()}" for _ in range(2))
    (folder / "routes.yaml").write_text(yaml.safe_dump(_routes(gateways)))
    (folder / "traefik.yaml").write_text(yaml.safe_dump(_settings(folder, web, api)))
    with (folder / "traefik.log").open("wb") as log:
        process = subprocess.Popen([program, f"--configfile={folder / 'traefik.yaml'}"], stdout=log, stderr=log)
    try:
        yield Balancer(web, api)
    finally:
        process.terminate()
        process.wait(10)


def _settings(folder: Path, web: str, api: str) -> dict[str, object]:
    return {
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "entryPoints": {"web": {"address": web}, "traefik": {"address": api}},
        "api": {"insecure": True},
        "providers": {"file": {"filename": str(folder / "routes.yaml"), "watch": False}},
    }


def _routes(gateways: list[str]) -> dict[str, object]:
    """Those of docker-compose.yml for REST, but for the addresses, and with checks that follow sooner."""
    http = yaml.safe_load(ROUTES.read_text())["http"]
    rest, services = http["routers"]["rest"], http["services"]
    servers = [{"url": f"http://{address}"} for address in gateways]
    for name in ("rest", "rest-any"):
        services[name]["loadBalancer"]["servers"] = servers
    services["rest"]["loadBalancer"]["healthCheck"] = CHECK
    return {
        "http": {
            "routers": {"rest": rest | {"entryPoints": ["web"]}},
            "middlewares": http["middlewares"],
            "services": {name: service for name, service in services.items() if name.startswith("rest")},
        }
    }
