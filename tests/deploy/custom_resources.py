"""Objects of kinds that other projects define, checked against small schemas of what the chart uses of them.

No registry has the schemas of these projects. Those in `crds/` are written by hand from their documentation.
"""

from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import yaml

FOLDER = Path(__file__).parent / "crds"


@cache
def schemas() -> dict[str, dict[str, Any]]:
    """By kind: the API version, and the schema of `spec`."""
    return {kind: schema for file in sorted(FOLDER.glob("*.yaml")) for kind, schema in _read(file).items()}


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text()))


def validate(item: dict[str, Any]) -> None:
    """Raises jsonschema.ValidationError, or KeyError for a kind without a schema."""
    known = schemas()[item["kind"]]
    assert item["apiVersion"] == known["apiVersion"], item["apiVersion"]
    assert item.keys() <= {"apiVersion", "kind", "metadata", "spec"}
    jsonschema.validate(item["spec"], known["spec"], cls=jsonschema.Draft202012Validator)
