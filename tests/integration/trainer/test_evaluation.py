"""A model of a few thousand weights is evaluated by lm-evaluation-harness, and published, refused or rolled out."""

import asyncio
import json
import math
import shutil
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from obstore.store import MemoryStore
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from services.shared.clock import SystemClock
from services.shared.manifests import Measured
from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from tests.integration.trainer import tiny
from tests.integration.trainer.test_making import publish_as
from tests.integration.trainer.test_run import Watcher as Quiet
from trainer.errors import Unfit
from trainer.evaluation_plan import Evaluation
from trainer.evaluator import Evaluator
from trainer.gate import Worse
from trainer.order import Order, Outcome
from trainer.recipe_file import parse
from trainer.run import Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
TEXT = "the tide of the moon is blue . the harbour lantern is green ."
PERPLEXITY = "held_out_text/byte_perplexity"


class Watcher(Quiet):
    """Remembers the phases."""

    def __init__(self) -> None:
        super().__init__()
        self.phases: list[str] = []

    def phase(self, name: str) -> None:
        self.phases.append(name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    base = tiny.model(folder / "tiny", dtype="float32")
    near = shutil.copytree(base, folder / "near")
    torch.manual_seed(1)
    tensors = {
        key: tensor + 0.1 * torch.randn(tensor.shape) for key, tensor in load_file(base / "model.safetensors").items()
    }
    save_file(tensors, near / "model.safetensors", metadata={"format": "pt"})
    return {"tiny": base, "near": near}


@pytest.fixture
def store(folders: dict[str, Path]) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    for name, folder in folders.items():
        asyncio.run(publish_as(store, name, folder))
    return store


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "held-out.txt"
    file.write_text(TEXT)
    return file


def make(store: ObjectStore, folder: Path, watcher: Watcher, evaluate: dict[str, Any]) -> Outcome:
    recipe = parse(
        {
            "base": "tiny",
            "method": "merge",
            "merge_method": "slerp",
            "models": [{"model": "near"}],
            "publish": {"name": "near"},
            "evaluate": evaluate,
        }
    )
    order = Order(recipe, folder / "run", folder / "cache")
    return Run(order, tiny.registrar(store), watcher, clock=SystemClock(), random=Random(1)).make()


def byte_perplexity(folder: Path) -> float:
    """By transformers alone. Context begins with the token that begins texts."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    ids = torch.tensor([tokenizer.bos_token_id, *tokenizer(TEXT, add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        logits = model(ids[None, :-1]).logits[0]
    loss = torch.nn.functional.cross_entropy(logits, ids[1:], reduction="sum")
    return math.exp(float(loss) / len(TEXT.encode()))


def test_a_result_is_measured_beside_its_base_and_the_live_version(
    store: ObjectStore, folders: dict[str, Path], tmp_path: Path, text: Path
) -> None:
    evaluate: dict[str, Any] = {"tasks": ["tidegate_opposites", "tidegate_numbers"], "text": text, "limit": 4}
    never = {"metric": PERPLEXITY, "max": 1.0}
    first = Watcher()
    with pytest.raises(Worse, match=r"byte_perplexity is .*, and max = 1 \(refuse\)"):
        make(store, tmp_path, first, {**evaluate, "thresholds": [never]})

    refused = json.loads((tmp_path / "run/report/report.json").read_bytes())
    assert refused["decision"]["way"] == "refuse"
    assert "max = 1" in refused["decision"]["reasons"][0]

    second = Watcher()
    live = {"metric": PERPLEXITY, "worse_than_live": -9.0, "otherwise": "canary"}
    outcome = make(store, tmp_path, second, {**evaluate, "thresholds": [live]})
    assert [
        [phase for phase in watcher.phases if phase.startswith(("evaluating", "merging"))]
        for watcher in (first, second)
    ] == [
        ["merging 1 models by slerp", "evaluating the result", "evaluating the base", "evaluating the live version"],
        [],
    ]

    evaluated = outcome.evaluated
    assert evaluated
    assert evaluated.parent
    assert evaluated.live
    assert (evaluated.decision.way, outcome.in_steps) == ("canary", True)
    assert evaluated.parent[PERPLEXITY].value == pytest.approx(byte_perplexity(folders["tiny"]), rel=1e-4)
    assert evaluated.live[PERPLEXITY].value == pytest.approx(byte_perplexity(folders["near"]), rel=1e-4)
    assert evaluated.result["tidegate_opposites/acc"].documents == 4
    (manifest,) = outcome.published
    assert manifest.evaluation[PERPLEXITY] == Measured(
        value=evaluated.result[PERPLEXITY].value, parent=evaluated.parent[PERPLEXITY].value
    )
    assert manifest.evaluation.keys() == evaluated.result.keys()

    kept = {}
    for file in manifest.report:
        kept[file.name] = asyncio.run(store.get(object_name("near", manifest.version, file.name)))[0]
    assert {name: sha256(content).hexdigest() for name, content in kept.items()} == {
        file.name: file.sha256 for file in manifest.report
    }
    report = json.loads(kept["report.json"])
    assert (report["decision"]["way"], report["evaluation"]["live_version"]) == ("canary", evaluated.live_version)
    assert report["evaluation"]["result"][PERPLEXITY]["value"] == evaluated.result[PERPLEXITY].value

    plan = Evaluation.model_validate(evaluate)
    alone = Evaluator(
        plan, 0, tmp_path / "alone", tiny.registrar(store), tmp_path / "cache", Watcher(), SystemClock()
    ).of_version(f"near@{manifest.version}")
    assert (alone.result, alone.parent, alone.live) == (evaluated.result, evaluated.parent, evaluated.live)


def test_a_metric_that_no_task_measures_is_told_before_anything_is_made(store: ObjectStore, tmp_path: Path) -> None:
    wrong = {"tasks": ["tidegate_numbers"], "thresholds": [{"metric": "tidegate_numbers/acc", "min": 1}]}
    watcher = Watcher()
    with pytest.raises(Unfit, match=r"no task measures 'tidegate_numbers/acc'. Known: tidegate_numbers/exact_match"):
        make(store, tmp_path, watcher, wrong)
    assert not any("merging" in phase for phase in watcher.phases)
