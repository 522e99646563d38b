"""GET /livez, /readyz and /metrics: what probes and Prometheus ask."""

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from starlette.responses import PlainTextResponse, Response

from services.gateway.http.routes.rest_router import RestRouter
from services.shared.telemetry import Check


class HealthRoutes:
    """Liveness, readiness and metrics of this process."""

    def __init__(self, registry: CollectorRegistry, *, live: Check, ready: Check) -> None:
        self._registry, self._live, self._ready = registry, live, ready

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        for path, handler in (("/livez", self.livez), ("/readyz", self.readyz), ("/metrics", self.show_metrics)):
            router.add_api_route(path, handler, methods=["GET"], response_class=PlainTextResponse)
        return router

    async def livez(self) -> Response:
        """Says whether the process is alive."""
        return _probe(self._live)

    async def readyz(self) -> Response:
        """Says whether the process takes requests, and if not, why."""
        return _probe(self._ready)

    async def show_metrics(self) -> Response:
        """Shows the metrics in Prometheus's text format."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)


def _probe(check: Check) -> Response:
    trouble = check()
    return PlainTextResponse(trouble or "ok", status_code=503 if trouble else 200)
