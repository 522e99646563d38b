"""The OpenAPI document: routes from FastAPI, request bodies from the models that validate them."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

_TEMPLATE = "#/components/schemas/{model}"


def body_of(model: type[BaseModel]) -> dict[str, Any]:
    """`openapi_extra` of a route that parses its body itself."""
    schema = {"$ref": _TEMPLATE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def document_models(app: FastAPI, *models: type[BaseModel]) -> None:
    """Puts the schemas that `body_of` refers to into the document of `app`."""
    built = app.openapi

    def openapi() -> dict[str, Any]:
        document = built()
        _, schemas = models_json_schema([(model, "validation") for model in models], ref_template=_TEMPLATE)
        components = document.setdefault("components", {})
        components.setdefault("schemas", {}).update(schemas["$defs"])
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]
