"""docker-compose.yml as Docker reads it: variables put in, anchors resolved."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COMPOSE = Path("docker-compose.yml")
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")


def document(environment: Mapping[str, str]) -> dict[str, Any]:
    return dict(yaml.safe_load(VARIABLE.sub(lambda match: _value(match, environment), COMPOSE.read_text())))


def used_variables() -> dict[str, str | None]:
    """And their defaults."""
    found: dict[str, str | None] = {}
    for dollar, name, kind, word in VARIABLE.findall(COMPOSE.read_text()):
        if not dollar:
            found[name] = word if kind == "-" else None
    return found


def read_env(file: Path) -> dict[str, str]:
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    dollar, name, kind, word = match.groups()
    if dollar:
        return "$"
    if value := environment.get(name):
        return value
    assert kind == "-", f"{name} has neither a value nor a default"
    return str(word)
