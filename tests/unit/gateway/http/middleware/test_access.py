"""Which paths need no key: probes from everywhere, figures from this machine only."""

from random import Random
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from services.gateway.domain.account import DEFAULT_TENANT, Caller
from services.gateway.http.middleware.access import AccessMiddleware
from services.gateway.metrics import Metrics
from services.shared.errors import Unauthenticated
from tests.support.clock import ManualClock


class Keys:
    """Knows one key, and keeps which headers it was asked about."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, str]]] = []

    async def authenticate(self, key_headers: list[tuple[str, str]]) -> Caller:
        self.asked.append(key_headers)
        if not key_headers:
            raise Unauthenticated("no key")
        return Caller("key-1", DEFAULT_TENANT, "inference")


def client(keys: Any, host: str) -> httpx.AsyncClient:
    app: Any = AccessMiddleware(Response(b"ok"), keys, Metrics(CollectorRegistry()), ManualClock(), Random(1))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, client=(host, 1)), base_url="http://gateway")


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [
        *((path, "10.0.0.9", 200) for path in ("/livez", "/readyz", "/health", "/ping", "/version", "/openapi.json")),
        ("/load", "127.0.0.1", 200),
        ("/metrics", "::1", 200),
        ("/load", "10.0.0.9", 401),
        ("/metrics", "10.0.0.9", 401),
        ("/v1/models", "127.0.0.1", 401),
        ("/health/", "127.0.0.1", 401),
    ],
)
async def test_who_needs_a_key(path: str, host: str, status: int) -> None:
    keys = Keys()
    async with client(keys, host) as stranger:
        assert (await stranger.get(path)).status_code == status
        assert (await stranger.get(path, headers={"x-api-key": "k"})).status_code == 200
    assert bool(keys.asked) == (status == 401)


async def test_all_headers_that_may_hold_a_key_are_checked() -> None:
    keys = Keys()
    headers = [("Authorization", "Bearer a"), ("X-Api-Key", "b"), ("authorization", "Bearer c"), ("api-key", "d")]
    async with client(keys, "10.0.0.9") as caller:
        await caller.get("/v1/models", headers=[*headers, ("x-other", "e")])
    assert sorted(keys.asked[0]) == sorted((name.lower(), value) for name, value in headers)
