"""What a speculator drafts for: the target in the registry, and whether a draft model or head fits it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from services.shared.manifests import DraftMethod, Manifest, Speculates
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from trainer.checkpoint import Checkpoint
from trainer.errors import WrongCheckpoint

TOKENIZER = "tokenizer.json"
CONFIG = "config.json"


@dataclass(frozen=True, slots=True)
class Drafting:
    """The target of a speculator.

    Attributes:
        speculates: What the speculator's manifest will say.
        config: config.json of the target.
        vocabulary: Ids of the target's tokens; None: the target has no tokenizer.json.
    """

    speculates: Speculates
    config: Mapping[str, Any]
    vocabulary: Mapping[str, int] | None

    @classmethod
    async def of(cls, store: ObjectStore, target: Reference, method: DraftMethod, tokens: int) -> "Drafting":
        """Reads what the target is.

        Raises:
            UnknownVersion: The registry does not have the target.
            WrongCheckpoint: The target is no whole model.
            StoreError: The store failed.
        """
        manifest = await Registry(store).resolve(target)
        if manifest.kind != "model":
            raise WrongCheckpoint(f"--target {target} is no whole model: name the model that the pool serves")
        speculates = Speculates(
            target=f"{manifest.model}@{manifest.version}",
            vocab_size=manifest.vocab_size,
            tokenizer_sha256=manifest.tokenizer_sha256,
            method=method,
            tokens=tokens,
        )
        config, tokenizer = await _document(store, manifest, CONFIG), await _document(store, manifest, TOKENIZER)
        return cls(speculates, config or {}, vocabulary(tokenizer) if tokenizer else None)

    def check(self, checkpoint: Checkpoint) -> None:
        """Raises WrongCheckpoint when the files cannot draft for the target, with what to do."""
        own, target = checkpoint.config, self.speculates
        if own.vocab_size != target.vocab_size:
            raise WrongCheckpoint(
                f"{CONFIG} has vocab_size = {own.vocab_size}, and {target.model} has {target.vocab_size}: a speculator"
                " needs the vocabulary of its target. Take one that was made for it, or name its own with --target"
            )
        if target.method == "draft_model":
            self._check_tokens(checkpoint)
        else:
            self._check_width(checkpoint)

    def _check_tokens(self, checkpoint: Checkpoint) -> None:
        """The same text must have the same token ids."""
        if self.vocabulary is None or TOKENIZER not in checkpoint.selection.names:
            return
        own = vocabulary(json.loads((checkpoint.folder / TOKENIZER).read_bytes()))
        wrong = next(
            (token for token in sorted(own.keys() | self.vocabulary) if own.get(token) != self._id(token)), None
        )
        if wrong is not None:
            raise WrongCheckpoint(
                f"{TOKENIZER}: the token {wrong!r} is {own.get(wrong, 'not there')}, and {self._id(wrong)} in"
                f" {self.speculates.model}: a draft model needs the tokenizer of its target"
            )

    def _check_width(self, checkpoint: Checkpoint) -> None:
        """A head reads what the last layer of its target computes."""
        document = checkpoint.config.document
        own = document.get("target_hidden_size") or document.get("hidden_size")
        width = self.config.get("hidden_size") or (self.config.get("text_config") or {}).get("hidden_size")
        if own and width and own != width:
            raise WrongCheckpoint(
                f"{CONFIG} has hidden_size = {own}, and {self.speculates.model} has {width}: this head was made for"
                " another model. Name that with --target"
            )

    def _id(self, token: str) -> object:
        return (self.vocabulary or {}).get(token)


def vocabulary(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Ids of all tokens, from the content of tokenizer.json."""
    words = (tokenizer.get("model") or {}).get("vocab") or {}
    ids = dict(words) if isinstance(words, dict) else {str(entry[0]): index for index, entry in enumerate(words)}
    return ids | {added["content"]: added["id"] for added in tokenizer.get("added_tokens") or ()}


async def _document(store: ObjectStore, manifest: Manifest, name: str) -> dict[str, Any] | None:
    if name not in {file.name for file in manifest.files}:
        return None
    content, _ = await store.get(object_name(manifest.model, manifest.version, name))
    try:
        found: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise WrongCheckpoint(f"{manifest.model}@{manifest.version}: {name} is not JSON: {error}") from None
    return found
