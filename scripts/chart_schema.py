"""Writes what tidegate.yaml may say into the chart's values.schema.json; with --check, says whether it stands there."""

import json
import sys
from pathlib import Path
from typing import Any

from services.shared.config import Cluster

SCHEMA = Path(__file__).parents[1] / "deploy/helm/tidegate/values.schema.json"


def main() -> None:
    document = json.loads(SCHEMA.read_text())
    wanted = embed(document)
    if "--check" in sys.argv[1:]:
        if wanted != document:
            sys.exit(f"{SCHEMA.name} differs from services/shared/config.py: run scripts/chart_schema.py")
    else:
        SCHEMA.write_text(json.dumps(wanted, indent=2) + "\n")


def embed(document: dict[str, Any]) -> dict[str, Any]:
    """The same schema, with the models of tidegate.yaml among its definitions. Theirs begin with a capital."""
    models = Cluster.model_json_schema(ref_template="#/$defs/{model}")
    own = {name: schema for name, schema in document["$defs"].items() if name[0].islower()}
    return {**document, "$defs": {**own, **models.pop("$defs"), "Cluster": models}}


if __name__ == "__main__":
    main()
