"""The Helm chart, rendered without the helm program and without a cluster."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path("deploy/helm/tidegate")
EXAMPLES = sorted((CHART / "examples").glob("*.yaml"))
RELEASE = "shore"

Object = dict[str, Any]


def values(example: Path) -> Object:
    return dict(yaml.safe_load(example.read_text()))


def everything(example: Path) -> Object:
    """The example with all that is optional switched on."""
    given = values(example)
    on = {"enabled": True}
    given["monitoring"] = {"serviceMonitor": on, "rules": on, "dashboard": on}
    given["tls"] = {"certManager": on}
    given["podDisruptionBudget"] = on
    given.setdefault("gateway", {}).update(
        ingress={**on, "host": "llm.example"},
        route={**on, "parentRefs": [{"name": "public"}]},
        autoscaling={**on, "minReplicas": 2, "maxReplicas": 3},
    )
    given.setdefault("workers", {})["autoscaling"] = {**on, "prometheusUrl": "http://prometheus:9090"}
    return given


def render(given: Object, release: str = RELEASE) -> list[Object]:
    with helm.Chart.load(CHART) as chart:
        chart.validate_schema(given)
        files = chart.render(given, name=release, namespace="sea")
    texts = (text for name, text in files.items() if name.endswith(".yaml"))
    return [document for text in texts for document in yaml.safe_load_all(text) if document]


@cache
def rendered(example: Path, with_everything: bool = False) -> tuple[Object, ...]:
    return tuple(render(everything(example) if with_everything else values(example)))


def secrets_plan(objects: tuple[Object, ...]) -> dict[str, dict[str, str]]:
    """The Secrets that the chart's Job makes, with a template for each key."""
    for component, pod in pods(objects):
        if component == "secrets":
            variables = {variable["name"]: variable["value"] for variable in pod["containers"][0]["env"]}
            return dict(json.loads(variables["PLAN"]))
    return {}


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Component and spec of every pod that the objects make."""
    for item in objects:
        for template in templates(item):
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template["spec"]


def templates(item: Object) -> list[Object]:
    """The templates of the pods that an object makes, or is."""
    if item["kind"] == "Pod":
        return [item]
    spec = item.get("spec", {})
    group = spec.get("leaderWorkerTemplate", {})
    found = [spec.get("template"), group.get("leaderTemplate"), group.get("workerTemplate")]
    return [template for template in found if template]
