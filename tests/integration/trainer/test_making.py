"""Models of a few thousand weights are merged or quantized, and published."""

import asyncio
import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from obstore.store import MemoryStore
from safetensors.torch import load_file, save_file

from services.shared.clock import SystemClock
from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from services.shared.staging import Stager
from tests.integration.trainer import tiny
from tests.integration.trainer.test_run import Killed, Watcher
from tests.support.signing import KEY, TRUSTED
from trainer.checkpoint import read
from trainer.errors import Unfit
from trainer.gate import Worse
from trainer.order import Order, Outcome
from trainer.publish import Provenance, describe, point, publish
from trainer.recipe_file import parse
from trainer.run import Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base and two models that differ from it: one in float32, one with very large weights."""
    folder = tmp_path_factory.mktemp("models")
    base = tiny.model(folder / "tiny")
    tensors = load_file(base / WEIGHTS)
    made = {"tiny": base}
    for name, sign in (("near", 0.01), ("far", 3.0)):
        made[name] = shutil.copytree(base, folder / name)
        torch.manual_seed(len(made))
        changed = {key: tensor.float() + sign * torch.randn(tensor.shape) for key, tensor in tensors.items()}
        if name == "far":
            changed = {key: tensor.bfloat16() for key, tensor in changed.items()}
        save_file(changed, made[name] / WEIGHTS, metadata={"format": "pt"})
    return made


async def publish_as(store: ObjectStore, name: str, folder: Path) -> Manifest:
    checkpoint = read(folder)
    manifest = KEY.sign(describe(checkpoint, model=name, provenance=Provenance("a test"), created=1))
    await publish(store, checkpoint, manifest, lambda _: None)
    await point(store, Reference(name), manifest.version, clock=SystemClock(), random=Random(1))
    return manifest


@pytest.fixture
def store(folders: dict[str, Path]) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    for name, folder in folders.items():
        asyncio.run(publish_as(store, name, folder))
    return store


def make(store: ObjectStore, folder: Path, watcher: Watcher | None = None, **changed: Any) -> Outcome:
    fields = {"base": "tiny", "method": "merge", "merge_method": "linear", "max_length": 64}
    models = [{"model": "tiny", "weight": 3}, {"model": "near"}]
    order = Order(parse({**fields, "models": models, **changed}), folder / "run", folder / "cache")
    return Run(order, tiny.registrar(store), watcher or Watcher(), clock=SystemClock(), random=Random(1)).make()


def test_a_merge_is_published_with_all_its_parents_and_is_the_same_every_time(
    store: ObjectStore, folders: dict[str, Path], tmp_path: Path
) -> None:
    watcher = Watcher()
    outcome = make(store, tmp_path, watcher, publish={"name": "soup"})
    (manifest,) = outcome.published
    assert asyncio.run(Registry(store).resolve(Reference("soup"))) == manifest
    base, near = (asyncio.run(Registry(store).resolve(Reference(name))) for name in ("tiny", "near"))
    assert manifest.parent == base.version
    assert manifest.training
    assert manifest.training.recipe
    assert manifest.training.recipe["base"] == f"tiny@{base.version}"
    assert manifest.training.recipe["models"] == [
        {"model": f"tiny@{base.version}", "weight": 3.0},
        {"model": f"near@{near.version}", "weight": 1.0},
    ]
    assert manifest.golden
    assert manifest.tokenizer_sha256 == base.tokenizer_sha256
    assert (outcome.loss, manifest.evaluation) == (None, {})
    assert any("nothing to judge" in note for note in watcher.notes)

    staged = asyncio.run(Stager(store, tmp_path / "staged", SystemClock(), TRUSTED).stage(manifest))
    found, start, other = (load_file(folder / WEIGHTS) for folder in (staged, folders["tiny"], folders["near"]))
    assert found.keys() == start.keys()
    for name, tensor in found.items():
        wanted = (0.75 * start[name].float() + 0.25 * other[name].float()).bfloat16()
        assert tensor.dtype == torch.bfloat16
        assert torch.allclose(tensor.float(), wanted.float(), rtol=1 / 128, atol=1e-6)

    again = make(store, tmp_path / "again", publish={"name": "soup"})
    assert again.published[0].version == manifest.version


def test_a_merge_that_was_stopped_keeps_to_its_versions(
    store: ObjectStore, folders: dict[str, Path], tmp_path: Path
) -> None:
    wanted: dict[str, Any] = {"merge_method": "dare_ties", "models": [{"model": "near"}, {"model": "far"}]}
    make(store, tmp_path / "whole", **wanted)
    with pytest.raises(Killed):
        make(store, tmp_path, Watcher(phase="merging"), **wanted)
    asyncio.run(publish_as(store, "near", folders["far"]))
    make(store, tmp_path, **wanted)
    weights = [(folder / "run/merged" / WEIGHTS).read_bytes() for folder in (tmp_path / "whole", tmp_path)]
    assert weights[0] == weights[1]


def test_the_gate_judges_a_merge_by_its_data(store: ObjectStore, tmp_path: Path) -> None:
    data = tiny.chats(tmp_path / "chats.jsonl")
    far: dict[str, Any] = {"models": [{"model": "far"}, {"model": "near"}], "data": data, "publish": {"name": "soup"}}
    with pytest.raises(Worse, match=r"held-out loss is .* Merge other models"):
        make(store, tmp_path, **far)
    allowed = make(store, tmp_path, **far, gate={"publish_worse": True})
    (manifest,) = allowed.published
    assert manifest.evaluation == {"held_out_loss": allowed.loss}
    assert manifest.training
    assert (manifest.training.learnt, manifest.training.held_out) == (0, 12)


def quantize(store: ObjectStore, folder: Path, **changed: Any) -> Outcome:
    recipe = parse({"base": "tiny", "method": "quantize", "max_length": 64, **changed})
    order = Order(recipe, folder / "run", folder / "cache")
    return Run(order, tiny.registrar(store), Watcher(), clock=SystemClock(), random=Random(1)).make()


def test_a_quantized_model_is_measured_judged_and_published(store: ObjectStore, tmp_path: Path) -> None:
    wanted: dict[str, Any] = {"data": tiny.chats(tmp_path / "chats.jsonl"), "publish": {"name": "small"}}
    with pytest.raises(Worse, match="Choose a precision that rounds less"):
        quantize(store, tmp_path, **wanted, gate={"max_loss_increase": -1})
    outcome = quantize(store, tmp_path, **wanted)
    (manifest,) = outcome.published
    base = asyncio.run(Registry(store).resolve(Reference("tiny")))
    assert asyncio.run(Registry(store).resolve(Reference("small"))) == manifest
    assert (manifest.parent, manifest.tokenizer_sha256) == (base.version, base.tokenizer_sha256)
    assert manifest.source == f"quantized from tiny@{base.version[:12]} to int8"
    assert manifest.golden
    assert outcome.loss
    assert outcome.loss.parent
    assert 0 < abs(outcome.loss.value - outcome.loss.parent) < 0.05
    assert manifest.evaluation == {"held_out_loss": outcome.loss}
    assert manifest.training
    assert manifest.training.recipe
    assert (manifest.training.recipe["base"], manifest.training.recipe["precision"]) == (f"tiny@{base.version}", "int8")
    staged = asyncio.run(Stager(store, tmp_path / "staged", SystemClock(), TRUSTED).stage(manifest))
    assert json.loads((staged / "config.json").read_bytes())["quantization_config"]["format"] == "int-quantized"
    with pytest.raises(Unfit, match=r"^base = 'small', precision = fp8: small@.{12} is quantized already"):
        quantize(store, tmp_path / "again", base="small", precision="fp8")


def test_the_held_out_loss_is_that_which_transformers_computes(
    store: ObjectStore, folders: dict[str, Path], tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from trainer.examples import Example
    from trainer.methods.judge import held_out_loss

    model = AutoModelForCausalLM.from_pretrained(folders["tiny"], dtype=torch.float32)
    ids, labels = [2, 5, 7, 9, 3], [-100, -100, 7, 9, 3]
    wanted = float(model(torch.tensor([ids]), labels=torch.tensor([labels])).loss.detach())
    assert held_out_loss(folders["tiny"], [Example(ids, labels)] * 2) == pytest.approx(wanted, rel=1e-5)


def test_models_that_are_no_relatives_are_refused_before_anything_is_written(
    store: ObjectStore, folders: dict[str, Path], tmp_path: Path
) -> None:
    other = shutil.copytree(folders["near"], tmp_path / "other")
    tokenizer = json.loads((other / "tokenizer.json").read_bytes())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["tide"], vocabulary["moon"] = vocabulary["moon"], vocabulary["tide"]
    (other / "tokenizer.json").write_text(json.dumps(tokenizer))
    asyncio.run(publish_as(store, "other", other))
    with pytest.raises(Unfit, match=r"^other: in its tokenizer 'moon' has the number"):
        make(store, tmp_path, models=[{"model": "near"}, {"model": "other"}])
    assert not (tmp_path / "run/merged").exists()
