"""INT4 by GPTQ: llm-compressor does it, where scripts/llm_compressor.sh has installed it.

Its packages are many, so nothing downloads them unasked; without them the test that needs them skips.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore
from safetensors.torch import load_file

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from services.shared.staging import Stager
from tests.integration.trainer import tiny
from tests.integration.trainer.test_run import Watcher
from tests.support.signing import TRUSTED
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.gptq import GptqFailed
from trainer.order import Order, Outcome
from trainer.quantize import Precision, quantize
from trainer.recipe_file import parse
from trainer.run import Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
INSTALLED = Path(".tools/llm-compressor/bin/python").absolute()


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"), hidden_size=64)


@pytest.fixture
def store(base: Path) -> ObjectStore:
    store = ObjectStore(MemoryStore())
    asyncio.run(tiny.publish_base(store, base))
    return store


def make(store: ObjectStore, folder: Path, python: Path | None, **changed: Any) -> Outcome:
    fields = {"base": "tiny", "method": "quantize", "precision": "int4", "algorithm": "gptq", "max_length": 64}
    data = tiny.chats(folder / "chats.jsonl")
    recipe = parse({**fields, "data": data, "gate": {"publish_worse": True}, **changed})
    order = Order(recipe, folder / "run", folder / "cache", llm_compressor=python)
    return Run(order, tiny.registrar(store), Watcher(), clock=SystemClock(), random=Random(1)).make()


@pytest.mark.skipif(not os.access(INSTALLED, os.X_OK), reason="scripts/llm_compressor.sh has not installed it")
def test_weights_by_gptq_have_the_format_of_those_to_nearest_and_other_numbers(
    store: ObjectStore, base: Path, tmp_path: Path
) -> None:
    outcome = make(store, tmp_path, INSTALLED, publish={"name": "small"})
    assert outcome.counts.held_out == 2, "a fifth measures, and the rest was looked at"
    assert outcome.loss
    assert outcome.loss.parent
    assert outcome.loss.value < outcome.loss.parent + 0.5
    (manifest,) = outcome.published
    assert manifest.source.endswith("to int4 by gptq")
    folder = asyncio.run(Stager(store, tmp_path / "staged", SystemClock(), TRUSTED).stage(manifest))
    quantize(base, tmp_path / "nearest", Precision.INT4)
    found, nearest = (load_file(place / "model.safetensors") for place in (folder, tmp_path / "nearest"))
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {
        name: (tensor.shape, tensor.dtype) for name, tensor in nearest.items()
    }
    assert any(not found[name].equal(nearest[name]) for name in found if name.endswith("weight_packed"))
    configs = [json.loads((place / "config.json").read_text()) for place in (folder, tmp_path / "nearest")]
    assert configs[0] == configs[1]


@pytest.mark.parametrize("python", [None, Path("/nowhere/python")])
def test_a_machine_without_llm_compressor_says_so_before_anything_is_fetched(
    tmp_path: Path, python: Path | None
) -> None:
    with pytest.raises(Unfit, match=r"algorithm = 'gptq': .*scripts/llm_compressor\.sh"):
        make(ObjectStore(MemoryStore()), tmp_path, python)


def test_one_sample_is_too_few(tmp_path: Path) -> None:
    data = tmp_path / "one.jsonl"
    data.write_text(json.dumps({"text": "the moon ."}) + "\n")
    with pytest.raises(WrongData):
        make(ObjectStore(MemoryStore()), tmp_path, Path(sys.executable), data=data)


def test_what_llm_compressor_says_at_its_end_is_told(store: ObjectStore, tmp_path: Path) -> None:
    """The Python of this process has no llm-compressor."""
    with pytest.raises(GptqFailed, match=r"ended with status 1: ModuleNotFoundError: No module named 'llmcompressor'"):
        make(store, tmp_path, Path(sys.executable))
    assert not (tmp_path / "run/merged").exists()
