"""Dashboards and rules: the queries in them, and the metrics that queries name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path("deploy/observability")
DASHBOARDS = sorted(FOLDER.glob("dashboards/*.json"))
RULES = sorted(FOLDER.glob("rules/*.yaml"))

# Strings, selectors, ranges and groupings hold no metric names.
_NO_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\boffset \w+|\b(?:by|without|on|ignoring|group_left)\s*\([^)]*\)')
_NAME = re.compile(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()")
_WORDS = {"and", "or", "unless", "bool"}


def dashboard_queries() -> dict[str, str]:
    """By dashboard, panel and letter."""
    return {
        f"{file.stem}, {panel['title']} {target['refId']}": target["expr"]
        for file in DASHBOARDS
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    }


def with_all(query: str) -> str:
    """A query as Grafana sends it when every variable is set to All."""
    for name in ("namespace", "release", "pool", "model"):
        query = query.replace(f"${name}", ".*")
    return query.replace("$__rate_interval", "1m")


def rules() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def metrics_in(query: str) -> set[str]:
    return set(_NAME.findall(_NO_NAMES.sub(" ", query))) - _WORDS
