"""GET /v1/models: the models that the caller may use."""

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.http.connection.request_context import caller_of
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.openai.request_builder import RequestBuilder


class ModelRoutes:
    """Models: pools, and their adapters as `pool:adapter`."""

    def __init__(self, builder: RequestBuilder) -> None:
        self._builder = builder

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        router.add_api_route("/v1/models", self.list_models, methods=["GET"])
        router.add_api_route("/v1/models/{model_id:path}", self.show_model, methods=["GET"])
        return router

    async def list_models(self, request: Request) -> Response:
        """Lists the models that the caller may use."""
        models = self._builder.catalog().open_to(caller_of(request))
        return JSONResponse({"object": "list", "data": [model.entry() for model in models]})

    async def show_model(self, model_id: str, request: Request) -> Response:
        """Shows one model."""
        if not model_id:
            raise HTTPException(404)  # the list's URL with a slash too many
        return JSONResponse(self._builder.catalog().model(model_id, caller_of(request)).entry())
