"""docker-compose.yml as Docker reads it: variables put in, anchors resolved."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

COMPOSE = Path("docker-compose.yml")
VARIABLE = re.compile(r"\$(?:(\$)|\{(\w+)(?::([-?])([^}]*))?\})")
SECRETS = "/run/secrets/"


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


def chosen(services: Mapping[str, Any], profiles: str) -> set[str]:
    """Names of the services that `docker compose up` starts with these profiles, which have commas between them."""
    wanted = set(profiles.split(","))
    return {name for name, each in services.items() if not each.get("profiles") or wanted & set(each["profiles"])}


def told(service: Mapping[str, Any], compose: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The environment of a service, with its secrets where they are in `folder`. Only those that it is given."""
    given = {f"{SECRETS}{name}": str(folder / compose["secrets"][name]["file"]) for name in service.get("secrets", [])}
    environment = {name: str(value) for name, value in service.get("environment", {}).items()}
    return {name: given[value] if value.startswith(SECRETS) else value for name, value in environment.items()}


def _value(match: re.Match[str], environment: Mapping[str, str]) -> str:
    dollar, name, kind, word = match.groups()
    if dollar:
        return "$"
    if value := environment.get(name):
        return value
    assert kind == "-", f"{name} has neither a value nor a default"
    return str(word)
