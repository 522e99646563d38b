"""What is taken of real repositories, and what is said of incomplete ones."""

import json

import pytest

from services.shared.architectures import known_architectures
from tests.unit.trainer.repositories import INDEX, REPOSITORIES, Repository, contents
from trainer.errors import WrongCheckpoint
from trainer.model_config import documents_of, examine
from trainer.selection import Selection, index_name, select, weight_map


def selected(repository: Repository) -> Selection:
    return select(repository.names, (INDEX, repository.weights) if repository.shards else None)


@pytest.mark.parametrize("repository", REPOSITORIES.values(), ids=REPOSITORIES)
def test_the_model_is_taken_whole_and_nothing_else(repository: Repository) -> None:
    assert index_name(repository.names) == (INDEX if repository.shards else None)
    assert set(selected(repository).names) == {*repository.taken, *repository.weights}


@pytest.mark.parametrize("repository", REPOSITORIES.values(), ids=REPOSITORIES)
def test_a_pool_can_serve_each_of_them(repository: Repository) -> None:
    selection = selected(repository)
    documents = {name: json.dumps(content).encode() for name, content in contents(repository).items()}
    found = examine(selection, documents, known_architectures())
    assert set(documents_of(selection)) == documents.keys()
    assert found.config.architecture == repository.architecture
    assert set(found.rewritten) == ({"config.json"} if repository.config else set())
    assert any("auto_map" in text for text in found.warnings) == bool(repository.config)
    assert any("embeddings" in text for text in found.warnings) == ("modules.json" in repository.taken)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"config.json", "pytorch_model.bin"}, r"pytorch_model\.bin can run code .* save_pretrained"),
        (
            {"config.json", "model.Q4_K_M.gguf"},
            r"only GGUF files: model\.Q4_K_M\.gguf\. Import one of them by its name, such as model\.Q4_K_M\.gguf",
        ),
        ({"params.json", "consolidated.safetensors", "tekken.json"}, "Mistral's own format"),
        ({"adapter_config.json", "adapter_model.safetensors"}, "an adapter"),
        ({"config.json"}, r"no \.safetensors file"),
        (
            {"config.json", "model-00001-of-00003.safetensors", "model-00003-of-00003.safetensors"},
            r"model-00002-of-00003\.safetensors missing: the model has 3",
        ),
    ],
)
def test_weights_that_are_not_there_are_told(names: set[str], said: str) -> None:
    with pytest.raises(WrongCheckpoint, match=said):
        select(names, None)


def test_what_is_half_uploaded_is_named_and_told_apart() -> None:
    repository = REPOSITORIES["Qwen/Qwen3-32B"]
    lost = set(repository.weights[3:9])
    with pytest.raises(WrongCheckpoint, match=rf"names {repository.weights[3]}, .* and 3 more, which are missing"):
        select(repository.names - lost, (INDEX, repository.weights))


def test_numbered_weights_without_an_index_are_taken_when_all_are_there() -> None:
    weights = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"}
    assert set(select({"config.json", "consolidated.safetensors", *weights}, None).weights) == weights


def test_of_two_indexes_none_is_guessed() -> None:
    assert index_name([INDEX, "consolidated.safetensors.index.json"]) == INDEX
    with pytest.raises(WrongCheckpoint, match="several indexes"):
        index_name(["a.safetensors.index.json", "b.safetensors.index.json"])


def test_an_index_may_only_name_safetensors() -> None:
    with pytest.raises(WrongCheckpoint, match=r"names model\.bin"):
        select({"config.json", "model.bin"}, (INDEX, ["model.bin"]))


@pytest.mark.parametrize(
    "name", ["../model.safetensors", "/model.safetensors", "a/../../model.safetensors", "a b.safetensors"]
)
def test_a_name_that_leads_out_of_the_folder_is_refused(name: str) -> None:
    with pytest.raises(WrongCheckpoint, match="no file of a version can be called"):
        select({"config.json", name}, (INDEX, [name]))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"weight_map": {}}', b'{"weight_map": {"a": 1}}', b"[" * 999])
def test_what_is_no_index_is_told(content: bytes) -> None:
    with pytest.raises(WrongCheckpoint, match=r"is no index of weights"):
        weight_map(INDEX, content)
