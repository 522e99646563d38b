"""/v2: the Open Inference Protocol's liveness, readiness and metadata over REST."""

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.open_inference import OpenInference, no_tensors

# What tells nothing of anybody, and is asked by probes that have no key.
OPEN = frozenset({"/v2", "/v2/health/live", "/v2/health/ready"})


class OpenInferenceRoutes:
    def __init__(self, told: OpenInference) -> None:
        self._told = told

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
        return JSONResponse(self._told.server())

    async def live(self) -> Response:
        return JSONResponse({"live": True})

    async def ready(self) -> Response:
        return _readiness(self._told.ready)

    async def model(self, model: str, request: Request, version: str = "") -> Response:
        return JSONResponse(self._told.model(model, version, caller_of(request)))

    async def model_ready(self, model: str, request: Request, version: str = "") -> Response:
        return _readiness(self._told.model_ready(model, version, caller_of(request)))

    async def infer(self, model: str) -> Response:
        raise no_tensors()


def _readiness(ready: bool) -> Response:
    """The protocol's clients read the status; 503 is what load balancers expect of a server that is not."""
    return JSONResponse({"ready": ready}, status_code=200 if ready else 503)
