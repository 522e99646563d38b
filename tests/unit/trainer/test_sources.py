from pathlib import Path

import pytest

from trainer.sources.gguf import GgufFile
from trainer.sources.huggingface import HuggingFaceFolder
from trainer.sources.packaged import PackagedSmolLM2
from trainer.sources.pick import pick
from trainer.sources.simulated import SimulatedModel
from trainer.sources.source import WrongSource, model_name


def test_words_mean_sources(tmp_path: Path) -> None:
    gguf = tmp_path / "Big Model.Q4.gguf"
    gguf.touch()
    assert pick("simulated") == SimulatedModel(0)
    assert pick("simulated:7") == SimulatedModel(7)
    assert pick("smollm2-135m-instruct") == PackagedSmolLM2()
    assert pick(str(tmp_path)) == HuggingFaceFolder(tmp_path)
    assert pick(str(gguf)) == GgufFile(gguf)
    assert pick(str(gguf)).name == "big-model.q4"


@pytest.mark.parametrize("text", ["nothing", "model.bin", "simulated:x", "simulated:-1"])
def test_anything_else_is_told_what_would_do(text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WrongSource, match=r"seed|folder"):
        pick(text)


def test_an_origin_tells_no_path(tmp_path: Path) -> None:
    for source in (HuggingFaceFolder(tmp_path), GgufFile(tmp_path / "a.gguf")):
        assert str(tmp_path.parent) not in source.origin


@pytest.mark.parametrize(("text", "name"), [("Llama 3.1/8B", "llama-3.1-8b"), ("__x__", "x"), ("äö", "model")])
def test_any_text_becomes_a_name(text: str, name: str) -> None:
    assert model_name(text) == name


def test_a_seed_is_a_model(tmp_path: Path) -> None:
    def weights(seed: int, name: str) -> bytes:
        (tmp_path / name).mkdir()
        return (SimulatedModel(seed).prepare(tmp_path / name) / "model.safetensors").read_bytes()

    assert weights(1, "a") == weights(1, "b") != weights(2, "c")
