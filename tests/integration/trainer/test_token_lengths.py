"""What `tidegate data inspect` measures in tokens is what a run learns, and the registry's tokenizer is verified."""

import json
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from services.shared.staging import RefusedModel
from tests.integration.trainer import tiny
from tests.support.signing import TRUSTED
from trainer.data.inspection import inspect
from trainer.data.reader import Reader, load
from trainer.data.wrong import WrongData
from trainer.examples import Renderer
from trainer.token_lengths import Tokens, tokenizer_of_folder, tokenizer_of_version

pytestmark = pytest.mark.filterwarnings("default")

LONG = [{"role": role, "content": "the tide of the moon ."} for role in ("user", "assistant") * 3]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.model(tmp_path_factory.mktemp("tiny"))


def written(folder: Path, *records: object) -> Path:
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def test_counts_are_those_of_a_run_and_what_is_learnt_is_marked(base: Path, tmp_path: Path) -> None:
    data, tokenizer = written(tmp_path, {"messages": LONG}, {"messages": LONG[:2]}), tokenizer_of_folder(base)
    found = inspect(Reader(data), Tokens(tokenizer, 24), 24)
    made = Renderer(tokenizer, 24).examples(load(data).samples)
    assert found.limited
    assert (found.limited.cut, found.limited.dropped) == (made.cut, made.dropped) == (0, 2)
    assert (found.limited.whole, found.lengths.longest) == (len(made.kept), 6 * 9)
    assert [span.text for span in found.shown[0] if span.learnt] == ["the tide of the moon . </s>"] * 3


def test_a_text_has_the_parts_that_a_run_learns(base: Path, tmp_path: Path) -> None:
    data = written(tmp_path, {"text": "the moon " * 20}, {"text": "blue"})
    found = inspect(Reader(data), Tokens(tokenizer_of_folder(base), 16), 16)
    assert (found.lengths.count, found.lengths.total, found.lengths.longest) == (4, 41 + 2, 14)


async def test_the_tokenizer_of_a_version_comes_without_its_weights_and_is_verified(base: Path) -> None:
    memory = MemoryStore()
    store = ObjectStore(memory)
    await tiny.publish_base(store, base)
    manifest = await Registry(store).resolve(Reference("tiny"))
    await store.delete(object_name("tiny", manifest.version, "model.safetensors"))
    tokenizer = await tokenizer_of_version(store, manifest, TRUSTED)
    assert tokenizer("the moon")["input_ids"] == tokenizer_of_folder(base)("the moon")["input_ids"]
    name = object_name("tiny", manifest.version, "tokenizer.json")
    content, etag = await store.get(name)
    await store.put_if(name, content + b" ", etag)
    with pytest.raises(RefusedModel, match="is corrupt"):
        await tokenizer_of_version(store, manifest, TRUSTED)
    with pytest.raises(RefusedModel, match="not signed"):
        await tokenizer_of_version(store, manifest.model_copy(update={"signature": None, "signer": None}), TRUSTED)


def test_a_folder_without_a_tokenizer_is_told(tmp_path: Path) -> None:
    with pytest.raises(WrongData, match="the folder holds no tokenizer"):
        tokenizer_of_folder(tmp_path)
