"""A model of a few thousand weights is pretrained for real, stopped anywhere, and published."""

import asyncio
import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from tests.integration.trainer import tiny
from tests.integration.trainer.test_run import Killed, Watcher
from trainer import loss_curve
from trainer.gate import Worse
from trainer.order import Outcome
from trainer.recipe_file import parse
from trainer.run import Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
LENGTH = 16


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store(base: Path) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    asyncio.run(tiny.publish_base(store, base))
    return store


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources, which say different things."""
    folder = tmp_path_factory.mktemp("texts")
    random = Random(3)
    for name, words in (("moon", tiny.WORDS[:7]), ("tide", tiny.WORDS[5:12])):
        lines = [json.dumps({"text": " ".join(random.choices(words, k=9))}) for _ in range(40)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


def make(store: ObjectStore, folder: Path, data: Path, watcher: Watcher | None = None, **changed: object) -> Outcome:
    fields: dict[str, Any] = {
        "method": "pretrain",
        "model": SHAPE,
        "tokenizer": "tiny",
        "data": data,
        "held_out": 0.1,
        "steps": 6,
        "learning_rate": 0.02,
        "batch": 2,
        "max_length": LENGTH,
        "save_every": 2,
        "seed": 7,
    }
    recipe = parse({key: value for key, value in {**fields, **changed}.items() if value is not None})
    order = tiny.order(recipe, folder)
    return Run(order, tiny.registrar(store), watcher or Watcher(), clock=SystemClock(), random=Random(1)).make()


RECIPES: dict[str, dict[str, Any]] = {
    "a new model": {"weights": {"moon.jsonl": 3, "tide.jsonl": 1}, "eval_every": 3},
    "a model of the registry": {
        "model": None,
        "tokenizer": None,
        "base": "tiny",
        "dtype": "bfloat16",
        "gradient_accumulation_steps": 2,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "document_mask": True,
    },
}


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_a_run_stopped_anywhere_ends_as_if_it_had_not_been(
    store: ObjectStore, texts: Path, tmp_path: Path, recipe: dict[str, Any]
) -> None:
    whole = make(store, tmp_path / "whole", texts, **recipe)
    broken = tmp_path / "broken"
    for watcher in (Watcher(phase="making tokens"), Watcher(last=4), Watcher(phase="measuring the result")):
        with pytest.raises(Killed):
            make(store, broken, texts, watcher, **recipe)
    last = Watcher()
    assert make(store, broken, texts, last, **recipe) == whole
    assert last.steps == []  # all of them had been made
    curves = [loss_curve.read(folder / "run/metrics.jsonl") for folder in (tmp_path / "whole", broken)]
    assert curves[0] == curves[1]
    weights = [(folder / "run/merged/model.safetensors").read_bytes() for folder in (tmp_path / "whole", broken)]
    assert weights[0] == weights[1]
    assert whole.held_out_before is not None
    assert whole.held_out_after is not None
    assert whole.held_out_after < whole.held_out_before


def test_a_new_model_is_published_without_a_parent(store: ObjectStore, texts: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    wanted: dict[str, Any] = {"steps": 20, "publish": {"name": "fresh"}, "chat_template": tiny.TEMPLATE}
    outcome = make(store, tmp_path, texts, watcher, **wanted)
    (made,) = outcome.published
    assert asyncio.run(Registry(store).resolve(Reference("fresh", "candidate"))) == made
    assert (made.parent, made.architecture, made.vocab_size, made.context_tokens) == (
        None,
        "LlamaForCausalLM",
        4 + len(tiny.WORDS),
        LENGTH,
    )
    assert made.source == "trained from a new model by pretrain"
    measured = made.evaluation["held_out_loss"]
    assert not isinstance(measured, float)
    assert (measured.value, measured.parent) == (outcome.held_out_after, None)
    assert outcome.held_out_before == pytest.approx(3.0, abs=0.2)  # ln 18 is 2.9: it knows nothing yet
    assert any("the new model has" in note and "18 tokens" in note for note in watcher.notes)
    assert any("gate.max_loss" in note for note in watcher.notes)
    again = Watcher()
    with pytest.raises(Worse, match=r"gate\.max_loss = 0\.1 allows"):
        make(store, tmp_path, texts, again, **wanted, gate={"max_loss": 0.1})
    assert again.steps == []
