"""GET /livez, /readyz and /metrics for probes and Prometheus; /health, /ping and /version, as vLLM has them."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import JSONResponse, PlainTextResponse, Response

from services.gateway.http.routes.rest_router import RestRouter
from services.shared.telemetry import Check


class HealthRoutes:
    """Liveness, readiness, version and metrics of this process."""

    def __init__(self, registry: CollectorRegistry, version: str, *, live: Check, ready: Check) -> None:
        self._registry, self._version, self._live, self._ready = registry, version, live, ready

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(tags=["server"])
        add = router.add_api_route
        add("/livez", self.livez, methods=["GET"], response_class=PlainTextResponse)
        for path in ("/readyz", "/health", "/ping"):
            add(path, self.readyz, methods=["GET"], response_class=PlainTextResponse)
        add("/ping", self.readyz, methods=["POST"], response_class=PlainTextResponse)
        add("/version", self.show_version, methods=["GET"])
        add("/metrics", self.show_metrics, methods=["GET"], response_class=PlainTextResponse)
        return router

    async def livez(self) -> Response:
        """Says whether the process is alive."""
        return _probe(self._live)

    async def readyz(self) -> Response:
        """Says whether the process takes requests, and if not, why."""
        return _probe(self._ready)

    async def show_version(self) -> Response:
        """Shows the version of Tidegate."""
        return JSONResponse({"version": self._version})

    async def show_metrics(self) -> Response:
        """Shows the metrics in Prometheus's text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


def _probe(check: Check) -> Response:
    trouble = check()
    return PlainTextResponse(trouble or "ok", status_code=503 if trouble else 200)
