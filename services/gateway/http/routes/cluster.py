"""GET /v1/admin/cluster: pools, workers and rollouts as they are now, for admin keys only. GET /load: their load."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from starlette.responses import JSONResponse, Response

from services.gateway.console import cluster_document
from services.gateway.console.cluster_document import traffic
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.metrics import Metrics
from services.gateway.upstream.control_client import ClusterStatus
from services.shared.clock import Clock
from services.shared.errors import TidegateError

# Seconds between two questions to the router, however many people watch the console.
KEPT_S = 1.0


class Source(Protocol):
    """Where the state of the cluster comes from."""

    def status(self) -> Awaitable[ClusterStatus]:
        """Asks the router for pools, workers and rollouts."""
        ...


class ClusterRoutes:
    """The state of the cluster, for the console, and its load, for load balancers."""

    def __init__(self, gateway_id: str, source: Source, metrics: Metrics, clock: Clock) -> None:
        self._gateway_id, self._source, self._metrics, self._clock = gateway_id, source, metrics, clock
        self._since = clock.wall()
        self._latest = CachedDocument(self._document, clock)

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_api_route("/v1/admin/cluster", self.cluster, methods=["GET"], tags=["admin"])
        router.add_api_route("/load", self.load, methods=["GET"], tags=["server"])
        return router

    async def cluster(self) -> Response:
        """Shows pools, workers, rollouts, and what this gateway has counted since `since`; other gateways count too."""
        return JSONResponse(await self._latest.get(), headers={"cache-control": "no-store"})

    async def load(self) -> Response:
        """Shows how many requests run and wait in the cluster; `server_load` counts those that this gateway holds."""
        return JSONResponse(cluster_document.load(await self._latest.get()), headers={"cache-control": "no-store"})

    async def _document(self) -> dict[str, Any]:
        pools = cluster_document.pools(await self._source.status())
        gateway = {"id": self._gateway_id, "since": self._since, **traffic(self._metrics)}
        return {"object": "cluster", "at": self._clock.wall(), "pools": pools, "gateway": gateway}


class CachedDocument:
    """A document that is asked for once at a time and kept for KEPT_S; so is a failure."""

    def __init__(self, ask: Callable[[], Awaitable[dict[str, Any]]], clock: Clock) -> None:
        self._ask, self._clock = ask, clock
        self._asking = asyncio.Lock()
        self._good_until = clock.monotonic()
        self._result: dict[str, Any] | TidegateError = {}

    async def get(self) -> dict[str, Any]:
        """Returns the document.

        Raises:
            TidegateError: asking for it failed.
        """
        async with self._asking:
            if self._clock.monotonic() >= self._good_until:
                await self._refresh()
        if isinstance(self._result, TidegateError):
            raise self._result
        return self._result

    async def _refresh(self) -> None:
        try:
            self._result = await self._ask()
        except TidegateError as error:
            self._result = error
        self._good_until = self._clock.monotonic() + KEPT_S
