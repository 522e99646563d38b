"""A run in which a model learns texts: a new model, or one of the registry."""

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from services.shared.clock import Clock
from services.shared.manifests import Manifest
from services.shared.registry import Reference, Registry
from trainer import record, remote_shards
from trainer.data.corpus import Corpus
from trainer.data.report import Report
from trainer.data.shard_manifest import MANIFEST
from trainer.data.shards import Shards, open_shards
from trainer.data.wrong import WrongData
from trainer.errors import Unfit
from trainer.learning import GOLDEN_HELD_OUT, GOLDEN_TRAINED, Ingredients, Learning
from trainer.order import Order
from trainer.pretrain_recipe import PretrainRecipe
from trainer.record import RunRecord
from trainer.registrar import Registrar
from trainer.sequences import corpus_of
from trainer.token_lengths import fetch_tokenizer, tokenizer_of_folder
from trainer.tokenized import sources_of, tokenize
from trainer.watcher import Watcher

START, TOKENS = "start", "tokens"
"""Folders of a run: the new model as it began, and readable data as shards."""
_PROMPT_TOKENS = 24
"""Tokens of a text that make a golden prompt."""


class Pretraining(Learning):
    """A run in which a model learns texts."""

    def __init__(
        self,
        order: Order,
        recipe: PretrainRecipe,
        registrar: Registrar,
        watcher: Watcher,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        super().__init__(order, recipe, registrar, watcher, clock=clock, random=random)
        self._own = recipe

    def _ingredients(self) -> Ingredients:
        data, folder = self._data(), self._order.folder
        prepared = open_shards(data) if (data / MANIFEST).is_file() else None
        digest = record.digest(self._own, data)
        known = record.load(folder, digest)
        if prepared and known is None:
            self._watcher.phase("reading all shards once, to verify them")
            prepared.verify()
        base, manifest = self._start(known, digest, prepared)
        shards, report = (prepared, None) if prepared else self._tokenized(data, base)
        self._check_tokens(base, shards)
        corpus = corpus_of(self._own, shards)
        self._tell(corpus)
        return Ingredients(self._own, folder, data, report, corpus, base, manifest)

    def _data(self) -> Path:
        named = self._own.data
        if isinstance(named, Path):
            return named
        self._watcher.phase(f"fetching {named}")
        shards = asyncio.run(remote_shards.fetch(named, self._order.folder / record.DATA))
        return shards or super()._data()

    # ---- what the run begins with ----

    def _start(self, known: RunRecord | None, digest: str, prepared: Shards | None) -> tuple[Path, Manifest | None]:
        if self._own.base is None:
            if known is None:
                record.save(self._order.folder, RunRecord(digest=digest, base=None))
            return self._new_model(prepared), None
        self._watcher.phase(f"fetching {self._own.base}")
        base, manifest = asyncio.run(self._fetch(known))
        if known is None:
            record.save(self._order.folder, RunRecord(digest=digest, base=manifest.version))
        return base, manifest

    def _new_model(self, prepared: Shards | None) -> Path:
        from trainer.methods.new_model import create

        folder = self._order.folder / START
        with tempfile.TemporaryDirectory(prefix="tidegate-tokenizer-") as scratch:
            tokenizer = self._tokenizer(prepared, Path(scratch))
            self._watcher.phase("making the new model")
            self._watcher.note(create(self._own, tokenizer, folder, prepared.manifest.vocab_size if prepared else 1))
        if self._own.gate.max_loss is None:
            self._watcher.note(
                "a new model has no base that the gate could compare it with: only gate.max_loss bounds its held-out"
                " loss, and it is not set"
            )
        return folder

    def _tokenizer(self, prepared: Shards | None, scratch: Path) -> Path:
        """The folder of the tokenizer's files."""
        named = self._own.tokenizer
        if prepared:
            if named:
                raise Unfit(f"tokenizer = {named!r}: the shards were made with a tokenizer of their own: leave it out")
            return prepared.tokenizer
        if named is None:
            raise Unfit("tokenizer is not set: name a folder with a tokenizer, or a model in the registry that has one")
        if Path(named).is_dir():
            return Path(named)
        try:
            reference = Reference.parse(named)
        except ValueError:
            raise Unfit(f"tokenizer = {named!r}: it is no folder, and no model in the registry is called so") from None
        asyncio.run(self._fetch_tokenizer(reference, scratch))
        return scratch

    async def _fetch_tokenizer(self, reference: Reference, folder: Path) -> None:
        manifest = await Registry(self._registrar.store).resolve(reference)
        await fetch_tokenizer(self._registrar.store, manifest, self._registrar.trusted, folder)

    # ---- data ----

    def _tokenized(self, data: Path, base: Path) -> tuple[Shards, Report]:
        self._watcher.phase("making tokens of the data")
        sources = sources_of(data, self._own.weights)
        folder = self._order.folder / TOKENS
        report = tokenize(sources, self._own.format, tokenizer_of_folder(base), base, folder)
        for sentence in report.sentences():
            self._watcher.note(sentence)
        return open_shards(folder), report

    def _check_tokens(self, base: Path, shards: Shards) -> None:
        """The model must mean by each token what the data mean by it."""
        own, wanted = (tokenizer_of_folder(folder).get_vocab() for folder in (base, shards.tokenizer))
        if own != wanted:
            token = min(token for token in own.keys() | wanted.keys() if own.get(token) != wanted.get(token))
            raise WrongData(
                f"the shards were made with another tokenizer than that of {self._own.base}: {token!r} is"
                f" {wanted.get(token)} there, and {own.get(token)} in the model. Prepare the data again with the"
                " tokenizer of the model"
            )

    def _tell(self, corpus: Corpus) -> None:
        from trainer.methods.pretrain import steps

        own = self._own
        in_step = own.batch * own.gradient_accumulation_steps
        count = steps(own, corpus.learnt)
        passes = ", ".join(f"{name} {times:.2f} times" for name, times in corpus.passes(count * in_step).items())
        self._watcher.note(
            f"{count} steps of {in_step * own.max_length:,} tokens go through {passes}; {corpus.held_out} sequences are"
            " held out"
        )

    def _asked(self, found: Ingredients) -> list[list[dict[str, Any]]]:
        """The beginnings of some sequences."""
        if not isinstance(found.split, Corpus):
            raise AssertionError("this run learns a corpus")
        corpus, tokenizer = found.split, tokenizer_of_folder(found.base)
        learnt = [corpus.learnt_at(position) for position in range(GOLDEN_TRAINED)]
        held_out = [corpus.held_out_at(number) for number in range(min(GOLDEN_HELD_OUT, corpus.held_out))]
        texts = [_beginning(ids.tolist(), corpus.eos_id) for ids in (*learnt, *held_out)]
        return [[{"role": "user", "content": tokenizer.decode(text)}] for text in texts if text]


def _beginning(ids: Sequence[int], end: int) -> list[int]:
    """The first tokens, as far as they are of one document."""
    first = list(ids[:_PROMPT_TOKENS])
    return first[: first.index(end)] if end in first else first
