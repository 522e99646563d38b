"""Quantized models as the trainer reads them: their loss, their golden prompts, and those that it cannot read."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch
from obstore.store import MemoryStore
from safetensors.torch import load_file, save_file

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from services.shared.signing import SigningKey
from tests.robustness.architectures.kinds import KINDS, make
from trainer.checkpoint import read
from trainer.golden import Answerer, golden_of_folder
from trainer.imports import Import, Target
from trainer.publish import Published
from trainer.quantize import Precision, held_out_loss, quantize
from trainer.sources.huggingface import HuggingFaceFolder

pytestmark = [pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore::DeprecationWarning")]
CHAT = [{"role": "user", "content": "What is the tide?"}]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of Llama's kind with random weights."""
    (llama,) = (kind for kind in KINDS if kind.name == "llama")
    return make(llama, tmp_path_factory.mktemp("llama"), 1)


@pytest.fixture(scope="module")
def int8(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantized") / "int8"
    quantize(model, folder, Precision.INT8)
    return folder


def read_back(int8: Path, folder: Path) -> Path:
    """The model of the quantized numbers, times their scales, without a sign of quantization."""
    tensors = load_file(int8 / "model.safetensors")
    scales = {name.removesuffix("_scale"): tensor for name, tensor in tensors.items() if name.endswith("_scale")}
    plain = {name: tensor for name, tensor in tensors.items() if not name.endswith("_scale")}
    plain |= {name: plain[name].float() * scale for name, scale in scales.items()}
    config = json.loads((int8 / "config.json").read_bytes())
    del config["quantization_config"]
    shutil.copytree(int8, folder)
    (folder / "config.json").write_text(json.dumps(config))
    save_file(plain, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_without_rounding_it_computes_with_the_quantized_weights_alone(int8: Path, tmp_path: Path) -> None:
    exact, rounded = Answerer.load(read_back(int8, tmp_path / "plain")), Answerer.load(int8)
    prompt = rounded.render(CHAT)
    answer = [reply.token for reply in exact.answers([prompt])[0]]
    wanted = torch.tensor([reply.lead for reply in exact.measure(prompt, answer)])
    leads = torch.tensor([reply.lead for reply in rounded.measure(prompt, answer)])
    assert not torch.allclose(leads, wanted, atol=1e-4)
    leads = torch.tensor([reply.lead for reply in rounded.without_rounding().measure(prompt, answer)])
    assert torch.allclose(leads, wanted, atol=1e-4)


def test_golden_prompts_of_quantized_weights_hold_with_rounded_activations(int8: Path) -> None:
    golden = golden_of_folder(int8, [CHAT])
    assert golden
    for dtype in (torch.float32, torch.float16):
        assert Answerer.load(int8, dtype).agrees(golden[0])


@pytest.mark.parametrize("precision", [None, Precision.INT8, Precision.INT4, Precision.FP8])
def test_an_import_says_how_much_memory_its_golden_prompts_take(
    model: Path, tmp_path: Path, precision: Precision | None
) -> None:
    folder = model if precision is None else tmp_path / "quantized"
    if precision:
        quantize(model, folder, precision)
    answerer = Answerer.load(folder)
    answerer.answers([answerer.render(CHAT)])
    taken = sum(weights.nbytes for weights in answerer.model.parameters())
    assert taken <= read(folder).float32_size <= 1.05 * taken


def test_the_loss_after_is_near_the_loss_before(model: Path, int8: Path) -> None:
    before, after = held_out_loss(model), held_out_loss(int8)
    assert after != before
    assert after == pytest.approx(before, rel=0.02)


class Told:
    """What people are told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.asked = 0

    def preparing(self, name: str) -> None: ...

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def asking(self, memory_bytes: int) -> None:
        self.asked = memory_bytes

    def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
        return lambda moved: None

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda moved: None


async def imported(folder: Path, told: Told) -> Published:
    target = Target(ObjectStore(MemoryStore()), Reference("tiny"), SigningKey.generate())
    return await Import(target, told, golden=None, clock=SystemClock(), random=Random(1)).run(HuggingFaceFolder(folder))


async def test_a_model_that_transformers_cannot_read_is_imported_without_golden_prompts(
    model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(model, tmp_path / "awq")
    config = json.loads((model / "config.json").read_bytes())
    config["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 32, "zero_point": True}
    (folder / "config.json").write_text(json.dumps(config))
    told = Told()
    published = await imported(folder, told)
    assert published.manifest.golden == ()
    assert told.asked == read(folder).float32_size
    (warning,) = told.warnings
    assert warning.startswith("there are no golden prompts, so workers will not prove this version: ")
