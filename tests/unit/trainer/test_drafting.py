"""Publishing speculators: what they draft for is read from the registry, and what does not fit is refused."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore

from services.shared.manifests import DraftMethod, Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from tests.support.clock import ManualClock
from tests.support.signing import KEY
from trainer.drafting import Drafting, vocabulary
from trainer.errors import WrongCheckpoint
from trainer.imports import Import, Target
from trainer.sources.pick import pick

WORDS = {"sea": 0, "moon": 1}


class Silent:
    def preparing(self, name: str) -> None: ...

    def warning(self, text: str) -> None: ...

    def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
        raise AssertionError

    def asking(self, memory_bytes: int) -> None:
        raise AssertionError("a speculator has no golden prompts")

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda _: None


def folder(at: Path, name: str, words: Mapping[str, int] = WORDS, **config: Any) -> Path:
    """A simulated model with a tokenizer."""
    made = at / name
    made.mkdir()
    from trainer.sources.simulated import SimulatedModel

    SimulatedModel().prepare(made)
    document = json.loads((made / "config.json").read_text()) | {"hidden_size": 8} | config
    (made / "config.json").write_text(json.dumps(document))
    tokenizer = {"model": {"vocab": dict(words)}, "added_tokens": [{"id": 2, "content": "<end>"}]}
    (made / "tokenizer.json").write_text(json.dumps(tokenizer))
    return made


async def published(store: ObjectStore, source: Path, drafting: Drafting | None = None) -> Manifest:
    target = Target(store, Reference(source.name, "candidate"), KEY)
    work = Import(target, Silent(), golden=None, clock=ManualClock(), random=Random(1), drafting=drafting)
    return (await work.run(pick(str(source)))).manifest


async def drafting_for(store: ObjectStore, method: DraftMethod) -> Drafting:
    return await Drafting.of(store, Reference("tide"), method, 4)


@pytest.mark.parametrize("method", ["draft_model", "eagle"])
async def test_a_speculator_is_published_with_what_it_drafts_for(tmp_path: Path, method: DraftMethod) -> None:
    store = ObjectStore(MemoryStore())
    tide = await published(store, folder(tmp_path, "tide"))
    manifest = await published(store, folder(tmp_path, "draft", seed=2), await drafting_for(store, method))
    assert manifest == await Registry(store).resolve(Reference("draft"))
    assert (manifest.kind, manifest.golden) == ("speculator", ())
    assert manifest.speculates
    assert manifest.speculates.model_dump() == {
        "target": f"tide@{tide.version}",
        "vocab_size": tide.vocab_size,
        "tokenizer_sha256": tide.tokenizer_sha256,
        "method": method,
        "tokens": 4,
    }


@pytest.mark.parametrize(
    ("method", "wrong", "said"),
    [
        ("draft_model", {"vocab_size": 7}, r"vocab_size = 7, and tide has 32768: .* --target"),
        ("draft_model", {"words": {"sea": 1, "moon": 0}}, r"tokenizer\.json: the token 'moon' is 0, and 1 in tide"),
        ("draft_model", {"words": {"sea": 0}}, r"the token 'moon' is not there, and 1 in tide"),
        ("eagle", {"hidden_size": 4}, r"hidden_size = 4, and tide has 8: .* --target"),
    ],
)
async def test_what_does_not_fit_its_target_is_not_published(
    tmp_path: Path, method: DraftMethod, wrong: dict[str, Any], said: str
) -> None:
    store = ObjectStore(MemoryStore())
    await published(store, folder(tmp_path, "tide"))
    with pytest.raises(WrongCheckpoint, match=said):
        await published(store, folder(tmp_path, "draft", **wrong), await drafting_for(store, method))
    assert await Registry(store).models() == ("tide",)


async def test_a_speculator_is_no_target(tmp_path: Path) -> None:
    store = ObjectStore(MemoryStore())
    await published(store, folder(tmp_path, "tide"))
    await published(store, folder(tmp_path, "draft"), await drafting_for(store, "draft_model"))
    with pytest.raises(WrongCheckpoint, match="--target draft@latest is no whole model"):
        await Drafting.of(store, Reference("draft"), "draft_model", 3)


def test_the_words_of_a_unigram_tokenizer_count_by_their_place() -> None:
    assert vocabulary({"model": {"vocab": [["a", -1.0], ["b", -2.0]]}}) == {"a": 0, "b": 1}
