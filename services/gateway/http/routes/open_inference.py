"""/v2: the Open Inference Protocol's liveness, readiness and metadata over REST."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.open_inference import OpenInference, no_tensors

# They reveal nothing of any tenant, and probes without a key ask them.
OPEN = frozenset({"/v2", "/v2/health/live", "/v2/health/ready"})


class OpenInferenceRoutes:
    """The Open Inference Protocol over REST."""

    def __init__(self, open_inference: OpenInference) -> None:
        self._open_inference = open_inference

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix="/v2", tags=["open inference protocol"])
        add = router.add_api_route
        add("", self.server, methods=["GET"])
        add("/health/live", self.live, methods=["GET"])
        add("/health/ready", self.ready, methods=["GET"])
        add("/models/{model}", self.model, methods=["GET"])
        add("/models/{model}/versions/{version}", self.model, methods=["GET"])
        add("/models/{model}/ready", self.model_ready, methods=["GET"])
        add("/models/{model}/versions/{version}/ready", self.model_ready, methods=["GET"])
        add("/models/{model}/infer", self.infer, methods=["POST"], include_in_schema=False)
        return router

    async def server(self) -> Response:
        """Shows the server's metadata."""
        return JSONResponse(self._open_inference.server())

    async def live(self) -> Response:
        """Says that the server is alive."""
        return JSONResponse({"live": True})

    async def ready(self) -> Response:
        """Says whether the server takes requests."""
        return _readiness(self._open_inference.ready)

    async def model(self, model: str, request: Request, version: str = "") -> Response:
        """Shows a model's metadata."""
        return JSONResponse(self._open_inference.model(model, version, caller_of(request)))

    async def model_ready(self, model: str, request: Request, version: str = "") -> Response:
        """Says whether some worker takes requests for a model."""
        return _readiness(self._open_inference.model_ready(model, version, caller_of(request)))

    async def infer(self, model: str) -> Response:
        """Refuses: text is not generated over this protocol."""
        raise no_tensors()


def _readiness(ready: bool) -> Response:
    """The protocol tells readiness by the status; load balancers expect 503 of a server that is not ready."""
    return JSONResponse({"ready": ready}, status_code=200 if ready else 503)
