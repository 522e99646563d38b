from pathlib import Path

import pytest

from trainer.sources.gguf import GgufFile
from trainer.sources.hub import HubRepository
from trainer.sources.huggingface import HuggingFaceFolder
from trainer.sources.packaged import PackagedSmolLM2
from trainer.sources.pick import pick
from trainer.sources.remote_gguf import RemoteGguf
from trainer.sources.s3 import S3Prefix
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


@pytest.mark.parametrize(
    ("text", "name", "wanted"),
    [
        ("hf://Qwen/Qwen3-8B-GGUF/Qwen3-8B-Q8_0.gguf", "qwen3-8b-q8_0", "Qwen3-8B-Q8_0.gguf"),
        ("hf://Qwen/Qwen3-8B-GGUF/Q8_0/Qwen3-8B.gguf", "qwen3-8b", "Q8_0/Qwen3-8B.gguf"),
        ("hf://Qwen/Qwen3-8B-GGUF:Q8_0", "qwen3-8b-q8_0", "Q8_0"),
    ],
)
@pytest.mark.parametrize("revision", ["main", "v1.0", "refs/pr/3", "c0ffee"])
def test_one_gguf_file_of_a_repository_is_named(text: str, name: str, wanted: str, revision: str) -> None:
    repository = "hf://Qwen/Qwen3-8B-GGUF"
    source = RemoteGguf(name, HubRepository("Qwen/Qwen3-8B-GGUF", revision), wanted)
    assert pick(f"{text}@{revision}") == source
    assert pick(text.replace(repository, f"{repository}@{revision}")) == source
    assert revision != "main" or pick(text) == source


def test_one_gguf_file_of_a_bucket_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    for text, prefix in (("s3://models/teams/a.Q8.gguf", "teams"), ("s3://models/a.Q8.gguf", "")):
        source = pick(text)
        assert isinstance(source, RemoteGguf)
        assert isinstance(source.place, S3Prefix)
        assert (source.name, source.place.prefix, source.wanted) == ("a.q8", prefix, "a.Q8.gguf")
    assert isinstance(pick("s3://models/folder.gguf/"), RemoteSource)


@pytest.mark.parametrize(
    "text",
    ["hf://", "hf://a/b/c", "hf://a b", "hf://a/b@", "hf://a/b:", "hf://a/b/c.bin", "s3://", "s3:///x", "s3://A/x"],
)
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
