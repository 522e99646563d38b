"""The OpenAPI document: routes from FastAPI, request bodies from the models that validate them."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_TEMPLATE = "#/components/schemas/{model}"
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


class Body(dict[str, Any]):
    """`openapi_extra` of a route that parses its body itself; remembers the model for the document's schemas."""

    def __init__(self, model: type[BaseModel], example: dict[str, Any] | None) -> None:
        content: dict[str, Any] = {"schema": {"$ref": _TEMPLATE.format(model=model.__name__)}}
        if example:
            content["example"] = example
        super().__init__(requestBody={"required": True, "content": {"application/json": content}})
        self.model = model


def body_of(model: type[BaseModel], example: dict[str, Any] | None = None) -> Body:
    return Body(model, example)


def complete(app: FastAPI) -> None:
    """Puts into the document of `app` what FastAPI cannot know: the bodies' schemas, errors, and how to say who one is.

    Once all routes are there.
    """
    built = app.openapi
    models = {extra.model for route in app.routes if isinstance(extra := getattr(route, "openapi_extra", None), Body)}

    def openapi() -> dict[str, Any]:
        document = built()
        _, schemas = models_json_schema(
            [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
            ref_template=_TEMPLATE,
        )
        components = document.setdefault("components", {})
        components["schemas"] = {**schemas["$defs"], "Error": _ERROR}
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        for operations in document["paths"].values():
            for operation in operations.values():
                _tell_errors(operation["responses"])
                operation.setdefault("tags", ["inference"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _tell_errors(responses: dict[str, Any]) -> None:
    """All in one shape, so one line says it; FastAPI's own 422 never happens."""
    responses.pop("422", None)
    content = {"application/json": {"schema": {"$ref": _TEMPLATE.format(model="Error")}}}
    responses["default"] = {"description": "An error, in OpenAI's shape", "content": content}
