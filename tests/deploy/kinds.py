"""Objects against the schemas of their kinds: Kubernetes' own of every version, and small ones for those of others."""

import json
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema_rs
import yaml

VERSIONS = tuple(f"1.{minor}" for minor in range(29, 38))
"""The versions of Kubernetes that the chart is for."""

_CRDS = Path("tests/deploy/crds")


def check(item: dict[str, Any], version: str) -> None:
    """The object has the fields that its kind has, and no others.

    Raises:
        ValidationError: It has not.
        FileNotFoundError: Nothing describes this kind.
    """
    _validator(item["kind"], item["apiVersion"], version).validate(item)


@cache
def _validator(kind: str, api: str, version: str) -> jsonschema_rs.Draft202012Validator:
    own = _CRDS / f"{kind}.yaml"
    group, _, name = api.rpartition("/")
    file = f"{kind.lower()}-{group.partition('.')[0] + '-' if group else ''}{name}.json"
    schema = yaml.safe_load(own.read_text()) if own.exists() else _kubernetes(version, file)
    return jsonschema_rs.Draft202012Validator(schema, registry=_definitions(version))


@cache
def _definitions(version: str) -> jsonschema_rs.Registry:
    definitions = _kubernetes(version, "_definitions.json")
    return jsonschema_rs.Registry([(definitions["$id"], definitions)])


def _kubernetes(version: str, file: str) -> Any:
    folder = files("kubernetes_validate") / f"kubernetes-json-schema/v{version}.0-local-strict"
    return json.loads((folder / file).read_text())
