"""The OpenAPI document: routes come from FastAPI, request bodies from the models that validate them."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from services.gateway.anthropic.errors import is_anthropic

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

# The ways to send a key; each is enough.
_KEYS = {
    "key": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    "api-key": {"type": "apiKey", "in": "header", "name": "api-key"},
}

_ANTHROPIC_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"type": "string", "const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
        "request_id": {"type": "string"},
    },
}


class Body(dict[str, Any]):
    """`openapi_extra` of a route that parses its body itself. It keeps the model, which the document shows."""

    def __init__(self, model: type[BaseModel], example: dict[str, Any] | None) -> None:
        content: dict[str, Any] = {"schema": {"$ref": _TEMPLATE.format(model=model.__name__)}}
        if example:
            content["example"] = example
        super().__init__(requestBody={"required": True, "content": {"application/json": content}})
        self.model = model


def body_of(model: type[BaseModel], example: dict[str, Any] | None = None) -> Body:
    """Returns the documentation of a JSON body. example: a valid body."""
    return Body(model, example)


def answers_of(model: type[BaseModel], status_code: int) -> dict[int | str, dict[str, Any]]:
    """Returns the documentation of what a request with such a body gets, beside JSON: events, if it can be streamed.

    Args:
        model: of the body.
        status_code: of a success.
    """
    if "stream" not in model.model_fields:
        return {}
    description = "With `stream`, server-sent events"
    return {status_code: {"content": {"text/event-stream": {"schema": {"type": "string", "description": description}}}}}


def complete(app: FastAPI, open_paths: frozenset[str]) -> None:
    """Adds what FastAPI cannot know: schemas of bodies, errors, how to send a key. Call it when all routes are in.

    Args:
        app: the application.
        open_paths: paths that need no key.
    """
    framework_document = app.openapi
    models = {extra.model for route in app.routes if isinstance(extra := getattr(route, "openapi_extra", None), Body)}

    def openapi() -> dict[str, Any]:
        document = framework_document()
        _, schemas = models_json_schema(
            [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
            ref_template=_TEMPLATE,
        )
        components = document.setdefault("components", {})
        components["schemas"] = {**schemas["$defs"], "Error": _ERROR, "AnthropicError": _ANTHROPIC_ERROR}
        components["securitySchemes"] = _KEYS
        document["security"] = [{name: []} for name in _KEYS]
        for path, operations in document["paths"].items():
            for operation in operations.values():
                if path in open_paths:
                    operation["security"] = []
                _document_errors(operation["responses"], path)
                operation.setdefault("tags", ["inference"])
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _document_errors(responses: dict[str, Any], path: str) -> None:
    """All errors of one API have one shape, so one entry documents them. FastAPI's own 422 never happens."""
    responses.pop("422", None)
    model, api = ("AnthropicError", "Anthropic") if is_anthropic(path) else ("Error", "OpenAI")
    content = {"application/json": {"schema": {"$ref": _TEMPLATE.format(model=model)}}}
    responses["default"] = {"description": f"An error, in {api}'s shape", "content": content}
