"""Dashboard and rules: the queries in them, and the metrics that queries name."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path("deploy/observability")
DASHBOARD = FOLDER / "dashboards/tidegate.json"
RULES = sorted(FOLDER.glob("rules/*.yaml"))

# Strings, selectors, ranges and groupings hold no metric names.
_NO_NAMES = re.compile(r'"[^"]*"|\{[^}]*\}|\[[^\]]*\]|\boffset \w+|\b(?:by|without|on|ignoring|group_left)\s*\([^)]*\)')
_NAME = re.compile(r"[a-zA-Z_:][\w:]*(?!\w|\s*\()")
_WORDS = {"and", "or", "unless", "bool"}


def dashboard_queries() -> dict[str, str]:
    """By panel and letter."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    return {
        f"{panel['title']} {target['refId']}": target["expr"] for panel in panels for target in panel.get("targets", [])
    }


def rules() -> Iterator[dict[str, Any]]:
    for file in RULES:
        for group in yaml.safe_load(file.read_text())["groups"]:
            yield from group["rules"]


def metrics_in(query: str) -> set[str]:
    return set(_NAME.findall(_NO_NAMES.sub(" ", query))) - _WORDS
