"""Tasks that are part of Tidegate, in the words of lm-evaluation-harness, and the task that texts make."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from services.shared.held_out import passages
from trainer.evaluation_plan import HELD_OUT_TEXT

SUITES = Path(__file__).with_name("suites")
TEXT = "tidegate_text"
_PERPLEXITIES = ("word_perplexity", "byte_perplexity", "bits_per_byte")


def suite(name: str, cache: Path) -> dict[str, Any]:
    """A task of OWN_TASKS.

    Args:
        name: Of the task.
        cache: Folder for what is made of its data.
    """
    if name == TEXT:
        return texts(name, passages(), cache)
    told: dict[str, Any] = yaml.safe_load((SUITES / f"{name}.yaml").read_text(encoding="utf-8"))
    return told | {"task": name} | _data(SUITES / f"{name}.jsonl", cache)


def texts(name: str, found: Sequence[str], cache: Path) -> dict[str, Any]:
    """The task whose figures are the perplexities of texts."""
    file = cache / f"{name}.jsonl"
    cache.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in found), encoding="utf-8")
    metrics = [{"metric": metric, "higher_is_better": False} for metric in _PERPLEXITIES]
    for metric in metrics:
        metric["aggregation"] = "bits_per_byte" if metric["metric"] == "bits_per_byte" else "weighted_perplexity"
    return {
        "task": name,
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": metrics,
        **_data(file, cache),
    }


def held_out_text(found: Sequence[str], cache: Path) -> dict[str, Any]:
    """The task of the recipe's own texts."""
    return texts(HELD_OUT_TEXT, found, cache)


def _data(file: Path, cache: Path) -> dict[str, Any]:
    kept = {"data_files": {"test": str(file)}, "cache_dir": str(cache)}
    return {"dataset_path": "json", "dataset_kwargs": kept, "test_split": "test"}
