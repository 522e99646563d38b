from pathlib import Path

import pytest

from trainer.sources.gguf import GgufFile
from trainer.sources.hub import HubRepository
from trainer.sources.huggingface import HuggingFaceFolder
from trainer.sources.packaged import PackagedSmolLM2
from trainer.sources.pick import pick
from trainer.sources.simulated import SimulatedModel
from trainer.sources.source import RemoteSource, WrongSource, model_name


def test_words_mean_sources(tmp_path: Path) -> None:
    gguf = tmp_path / "Big Model.Q4.gguf"
    gguf.touch()
    assert pick("simulated") == SimulatedModel(0)
    assert pick("simulated:7") == SimulatedModel(7)
    assert pick("smollm2-135m-instruct") == PackagedSmolLM2()
    assert pick(str(tmp_path)) == HuggingFaceFolder(tmp_path)
    assert pick(str(gguf)) == GgufFile(gguf)
    assert pick(str(gguf)).name == "big-model.q4"


def test_a_model_elsewhere_is_called_as_its_repository_or_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    hub, tagged, bucket = pick("hf://Qwen/Qwen3-32B"), pick("hf://gpt2@v1.0"), pick("s3://models/teams/Llama-3/")
    assert [found.name for found in (hub, tagged, bucket)] == ["qwen3-32b", "gpt2", "llama-3"]
    assert isinstance(hub, RemoteSource)
    assert hub.place == HubRepository("Qwen/Qwen3-32B", "main")
    assert isinstance(tagged, RemoteSource)
    assert tagged.place == HubRepository("gpt2", "v1.0")


@pytest.mark.parametrize("text", ["hf://", "hf://a/b/c", "hf://a b", "hf://a/b@", "s3://", "s3:///x", "s3://A/x"])
def test_a_place_that_is_not_written_right_is_told(text: str) -> None:
    with pytest.raises(WrongSource, match=r"write (hf|s3)://"):
        pick(text)


def test_a_snapshot_of_the_hubs_cache_is_called_as_its_repository(tmp_path: Path) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    folder = tmp_path / "models--Qwen--Qwen3-32B" / "snapshots" / revision
    folder.mkdir(parents=True)
    source = pick(str(folder))
    assert source == HuggingFaceFolder(folder)
    assert source.name == "qwen3-32b"
    assert HuggingFaceFolder(folder).origin == f"folder Qwen/Qwen3-32B at revision {revision}"


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
