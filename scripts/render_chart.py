"""Renders every example of the Helm chart without helm and without a cluster.

usage: python scripts/render_chart.py FOLDER

Each example becomes one file in the folder.
"""

import sys
from pathlib import Path
from typing import Any

import helm_python as helm
import yaml

CHART = Path(__file__).parents[1] / "deploy/helm/tidegate"


def main() -> None:
    """Renders into the folder that the command line names."""
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for example in sorted((CHART / "examples").glob("*.yaml")):
        (folder / example.name).write_text(render(example))


def render(example: Path) -> str:
    """Returns all objects of an example, as YAML. What LeaderWorkerSets make is there as Pods, which checkers know."""
    with helm.Chart.load(CHART) as chart:
        files = chart.render(yaml.safe_load(example.read_text()), name="tidegate", namespace="tidegate")
    texts = [text for name, text in files.items() if name.endswith(".yaml")]
    objects = [item for text in texts for item in yaml.safe_load_all(text) if item]
    return yaml.safe_dump_all([*objects, *(pod for item in objects for pod in _pods(item))], sort_keys=False)


def _pods(item: dict[str, Any]) -> list[dict[str, Any]]:
    group = item.get("spec", {}).get("leaderWorkerTemplate", {})
    templates = {name: group[name] for name in ("leaderTemplate", "workerTemplate") if name in group}
    return [
        {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": name.lower()}}
        for name, template in templates.items()
    ]


if __name__ == "__main__":
    main()
