"""The architectures that vLLM has code of its own for, by what they can do.

The list is a file that scripts/architectures.py makes from the vLLM that requirements/ pins. Reading it takes no vLLM.
"""

import json
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path

SIMULATED = "Simulated"
"""The architecture of the simulated engine's models."""

_FILE = Path(__file__).with_name("vllm_architectures.json")


class Task(StrEnum):
    """What a model of an architecture is for."""

    TEXT = "text"
    MULTIMODAL = "multimodal"
    POOLING = "pooling"
    DRAFT = "draft"


@dataclass(frozen=True, slots=True)
class Architectures:
    """Tasks by architecture. `vllm` is the version of vLLM that the list was made from."""

    vllm: str
    tasks: dict[str, Task]

    def task(self, architecture: str) -> Task | None:
        """What it is for; None when vLLM has no code for it."""
        return self.tasks.get(architecture)


def is_scorer(architecture: str) -> bool:
    """Whether models of this architecture give numbers to texts, as reward models do."""
    return architecture.endswith("ForSequenceClassification")


@cache
def known_architectures() -> Architectures:
    """The list as it is packaged."""
    document = json.loads(_FILE.read_bytes())
    tasks = {name: task for task in Task for name in document[task.value]}
    return Architectures(document["vllm"], tasks)
