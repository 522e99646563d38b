"""What the pinned version of vLLM did when the suite last ran against it, for the table in docs/api.md."""

from pathlib import Path
from typing import Any

import orjson

from tests.conformance.table import Outcomes
from tests.conformance.vllm_serve import vllm_version

FILE = Path(__file__).parent / "vllm.json"


def write(outcomes: Outcomes) -> None:
    """Keeps the verdicts of a run."""
    verdicts = {name: outcome.verdict for name, outcome in outcomes.items()}
    document = {"vllm": vllm_version(), "verdicts": verdicts}
    FILE.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")


def read() -> dict[str, Any]:
    """Returns the version of vLLM, and its verdict for each check."""
    return dict(orjson.loads(FILE.read_bytes()))
