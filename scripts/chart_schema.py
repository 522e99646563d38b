"""Writes the schema of tidegate.yaml into the Helm chart's values.schema.json.

usage: python scripts/chart_schema.py [--check]

--check writes nothing; it fails when the schema in the file is not current.
"""

import json
import sys
from pathlib import Path
from typing import Any

from services.shared.config import Cluster

SCHEMA = Path(__file__).parents[1] / "deploy/helm/tidegate/values.schema.json"


def main() -> None:
    """Writes or checks the file."""
    document = json.loads(SCHEMA.read_text())
    expected = embed(document)
    if "--check" in sys.argv[1:]:
        if expected != document:
            sys.exit(f"{SCHEMA.name} differs from the models of services/shared/config.py: run scripts/chart_schema.py")
    else:
        SCHEMA.write_text(json.dumps(expected, indent=2) + "\n")


def embed(document: dict[str, Any]) -> dict[str, Any]:
    """The chart's schema with the models of tidegate.yaml among its definitions.

    The names of the models begin with a capital letter, those of the chart's own definitions with a small one.
    """
    models = Cluster.model_json_schema(ref_template="#/$defs/{model}")
    own = {name: schema for name, schema in document["$defs"].items() if name[0].islower()}
    return {**document, "$defs": {**own, **models.pop("$defs"), "Cluster": models}}


if __name__ == "__main__":
    main()
