"""A model of a few thousand weights is pretrained for real, stopped anywhere, and published."""

import asyncio
import json
import math
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
from trainer.data.corpus import Corpus
from trainer.data.shards import open_shards
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.gate import Worse
from trainer.order import Outcome
from trainer.pretrain_recipe import PretrainRecipe
from trainer.recipe_file import parse
from trainer.run import Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]

LEAST: dict[str, Any] = {"data": "texts", "steps": 1, "learning_rate": 0.1}
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


def test_a_new_model_stopped_anywhere_learns_what_a_plain_loop_learns_on_the_same_sequences(
    store: ObjectStore, texts: Path, tmp_path: Path
) -> None:
    """The plain loop knows nothing of checkpoints, and the run that was stopped makes a step twice."""
    from tests.robustness.pretraining import plain_loop

    weights = {"moon.jsonl": 3.0, "tide.jsonl": 1.0}
    recipe: dict[str, Any] = {"weights": weights, "save_every": 4, "weight_decay": 0.1, "adam_beta2": 0.95}
    recipe |= {"lr_scheduler_type": "cosine", "warmup_steps": 2}
    whole = make(store, tmp_path / "whole", texts, **recipe)
    for watcher in (Watcher(phase="making tokens"), Watcher(last=5)):
        with pytest.raises(Killed):
            make(store, tmp_path / "stopped", texts, watcher, **recipe)
    assert make(store, tmp_path / "stopped", texts, **recipe) == whole
    one, run = (tmp_path / name / "run" for name in ("whole", "stopped"))
    assert (one / "merged/model.safetensors").read_bytes() == (run / "merged/model.safetensors").read_bytes()
    shards = open_shards(run / "tokens")
    corpus = Corpus(shards, length=LENGTH, held_out=0.1, most_held_out=1000, weights=weights, seed=7)
    settings = plain_loop.Settings(steps=6, batch=2, learning_rate=0.02, warmup=2, weight_decay=0.1, beta2=0.95)
    plain = plain_loop.losses(run / "start", corpus, settings)
    curve = [line["loss"] for line in loss_curve.read(run / "metrics.jsonl")]
    assert curve == pytest.approx(plain, rel=1e-4)
    assert len(set(plain)) == 6


def test_a_model_of_the_registry_learns_on(store: ObjectStore, texts: Path, tmp_path: Path) -> None:
    recipe: dict[str, Any] = {"model": None, "tokenizer": None, "base": "tiny", "adapter": {"r": 4}}
    recipe |= {"dtype": "bfloat16", "gradient_accumulation_steps": 2, "document_mask": True, "eval_every": 3}
    outcome = make(store, tmp_path, texts, **recipe)
    assert outcome.held_out_before is not None
    assert outcome.held_out_after is not None
    assert outcome.held_out_after < outcome.held_out_before
    assert outcome.figures == {"held_out_perplexity": pytest.approx(math.exp(outcome.held_out_after))}
    assert outcome.counts.learnt + outcome.counts.held_out == 80 * 10 // LENGTH
    assert not (tmp_path / "run/start").exists()


def test_a_new_model_is_published_without_a_parent(store: ObjectStore, texts: Path, tmp_path: Path) -> None:
    watcher = Watcher()
    wanted: dict[str, Any] = {"steps": 8, "publish": {"name": "fresh"}, "chat_template": tiny.TEMPLATE}
    outcome = make(store, tmp_path, texts, watcher, **wanted)
    (made,) = outcome.published
    assert asyncio.run(Registry(store).resolve(Reference("fresh", "candidate"))) == made
    assert (made.parent, made.architecture, made.vocab_size, made.context_tokens) == (
        None,
        "LlamaForCausalLM",
        4 + len(tiny.WORDS),
        LENGTH,
    )
    config = json.loads((tmp_path / "run/merged/config.json").read_text())
    assert (config["use_cache"], config["tie_word_embeddings"]) == (True, False)
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


@pytest.mark.parametrize("kind", ["Llama", "Qwen3"])
def test_documents_that_do_not_see_each_other_have_the_loss_that_each_has_alone(kind: str) -> None:
    """Qwen3's architecture normalizes queries and keys."""
    import numpy as np
    import torch
    from transformers import AutoModelForCausalLM, set_seed

    from trainer.methods.new_model import config_of
    from trainer.methods.pretrain import row

    recipe = parse({"method": "pretrain", "model": {**SHAPE, "qk_norm": kind == "Qwen3"}, **LEAST})
    assert isinstance(recipe, PretrainRecipe)
    assert recipe.model
    set_seed(1)
    model = AutoModelForCausalLM.from_config(config_of(recipe.model, Words(), recipe, 1)).eval()
    model.config.use_cache = False  # as a trainer sets it: with a cache, transformers does not mask documents
    assert type(model).__name__ == f"{kind}ForCausalLM"
    parts = [[5, 6, 7, 8, 3], [9, 5, 3], [6, 8, 9, 7]]
    ids = np.array([token for part in parts for token in part])

    def loss(**given: Any) -> float:
        found = {name: torch.from_numpy(value)[None] for name, value in given.items()}
        with torch.inference_mode():
            return float(model(**found).loss)

    masked, whole = (loss(**row(ids, 3, document_mask=mask)) for mask in (True, False))
    alone = sum(loss(input_ids=np.array(part), labels=np.array(part)) * (len(part) - 1) for part in parts)
    assert masked == pytest.approx(alone / (len(ids) - 3), rel=1e-5)
    assert whole != pytest.approx(masked, rel=1e-3)


class Words:
    """What a new model needs of a tokenizer."""

    bos_token_id, eos_token_id, pad_token_id = None, 3, None

    def get_vocab(self) -> dict[str, int]:
        return {str(number): number for number in range(10)}


@pytest.mark.parametrize(
    ("size", "vocabulary", "millions"),
    [("1m", 2048, 1.05), ("15m", 32_000, 14), ("135m", 49_152, 134.5), ("1b", 128_256, 1236), ("8b", 128_256, 8030)],
)
def test_sizes_have_the_parameters_that_their_names_say(size: str, vocabulary: int, millions: float) -> None:
    """Those of SmolLM2-135M, Llama 3.2 1B and Llama 3.1 8B, with their vocabularies. No memory is taken."""
    from trainer.methods.new_model import config_of, parameters

    recipe = parse({"method": "pretrain", "model": {"size": size}, **LEAST})
    assert isinstance(recipe, PretrainRecipe)
    assert recipe.model
    count, embedding = parameters(config_of(recipe.model, Words(), recipe, vocabulary))
    assert count / 1e6 == pytest.approx(millions, rel=0.01)
    assert embedding == vocabulary * (recipe.model.completed().hidden_size or 0)


def test_what_does_not_go_together_is_refused_before_the_first_step(
    store: ObjectStore, texts: Path, tmp_path: Path
) -> None:
    own: dict[str, Any] = {"model": None, "tokenizer": None, "base": "tiny"}

    def refused(name: str, error: type[Exception], told: str, data: Path = texts, **changed: Any) -> None:
        with pytest.raises(error, match=told):
            make(store, tmp_path / name, data, **changed)

    make(store, tmp_path / "made", texts, steps=1)
    shards = tmp_path / "made/run/tokens"
    other = tmp_path / "other"
    tiny.model(other)
    words = json.loads((other / "tokenizer.json").read_text())
    words["model"]["vocab"]["moons"] = words["model"]["vocab"].pop("moon")
    (other / "tokenizer.json").write_text(json.dumps(words))
    asyncio.run(tiny.publish_base(store, other))
    (other / "chat_template.jinja").unlink()
    refused("1", Unfit, "tokenizer is not set", tokenizer=None)
    refused("2", Unfit, "the shards were made with a tokenizer of their own", shards)
    refused("3", WrongData, "another tokenizer than that of tiny: 'moon' is 9 there, and None in", shards, **own)
    refused("4", WrongData, "tide.jsonl in texts0 has no weight", weights={"moon.jsonl": 1})
    refused("5", Unfit, "no chat template", tiny.chats(tmp_path / "chats.jsonl"), tokenizer=str(other))
    refused("6", Unfit, "chat_template: it cannot render a question", chat_template="{{ messages.nothing.at }}")
    refused("7", WrongData, "preference pairs are no texts", tiny.preferences(tmp_path / "pairs.jsonl"))
    refused("8", WrongData, "max_length = 4096: the source 'texts0' has .* set a smaller", max_length=4096)
