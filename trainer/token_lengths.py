"""Lengths of training data in tokens, and what of them is learnt: the measure of `tidegate data inspect`."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from services.shared.signing import TrustedKeys, Untrusted
from services.shared.staging import RefusedModel
from trainer.data.inspection import Row, Span
from trainer.data.sample import Conversation, PreferencePair, Sample, Text
from trainer.data.wrong import WrongData
from trainer.examples import IGNORED, Example, Renderer, parts
from trainer.selection import is_tokenizer_file

CONFIG = "config.json"
"""Names the tokenizer's class where the tokenizer's own files do not."""


class Tokens:
    """Lengths as training has them: the same examples, by the same tokenizer and chat template."""

    unit = "tokens"

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer, self._max_length = tokenizer, max_length
        self._renderer = Renderer(tokenizer, max_length)

    def rows(self, sample: Sample) -> Sequence[Row]:
        """One for each answer that is learnt; of a text, one for each part. Raises WrongData."""
        if isinstance(sample, Text):
            length = len(self._renderer.text(sample.text))
            return [Row(part.stop - part.start, 0) for part in parts(length, self._max_length)]
        return [Row(len(made.input_ids), _prompt(made)) for made in self._answers(sample)]

    def spans(self, sample: Sample) -> Sequence[Span]:
        """As the chat template shows it: the longest example, with the answers of the others marked too."""
        if isinstance(sample, Text):
            return [Span(self._decode(self._renderer.text(sample.text)), learnt=True)]
        answers = list(self._answers(sample))
        if isinstance(sample, PreferencePair):
            return [span for answer in answers for span in (*self._marked([answer]), Span("\n", learnt=False))]
        return list(self._marked(answers))

    def _answers(self, sample: Conversation | PreferencePair) -> Iterator[Example]:
        if isinstance(sample, Conversation):
            for turn in sample.turns:
                yield self._renderer.answer(sample, turn)
            return
        for answer in (sample.chosen, sample.rejected):
            side = Conversation(sample.place, (*sample.prompt, *answer), sample.tools)
            yield self._renderer.answer(side, len(side.messages) - 1)

    def _marked(self, answers: Sequence[Example]) -> Iterator[Span]:
        """Some templates show an earlier turn otherwise when others follow; there only the last one is marked."""
        whole = answers[-1].input_ids
        learnt = [False] * len(whole)
        for answer in answers:
            if whole[: len(answer.input_ids)] == answer.input_ids:
                learnt[_prompt(answer) : len(answer.input_ids)] = [True] * (len(answer.input_ids) - _prompt(answer))
        for is_learnt, pairs in groupby(zip(learnt, whole, strict=True), key=lambda pair: pair[0]):
            yield Span(self._decode([token for _, token in pairs]), is_learnt)

    def _decode(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens))


def tokenizer_of_folder(folder: Path) -> Any:
    """A tokenizer of transformers. It runs no code of the folder's own.

    Raises:
        WrongData: The folder holds no tokenizer.
    """
    from transformers import AutoTokenizer  # takes seconds

    from trainer.quiet import quiet

    quiet()
    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise WrongData(f"{folder}: the folder holds no tokenizer: {str(error).partition(chr(10))[0]}") from None


async def tokenizer_of_version(store: ObjectStore, manifest: Manifest, trusted: TrustedKeys) -> Any:
    """The tokenizer of a version in the registry. Its weights are not fetched.

    Raises:
        RefusedModel: The signature or a file is wrong.
        WrongData: The version has no tokenizer.
        StoreError: The store failed.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-tokenizer-") as scratch:
        await fetch_tokenizer(store, manifest, trusted, Path(scratch))
        return tokenizer_of_folder(Path(scratch))


async def fetch_tokenizer(store: ObjectStore, manifest: Manifest, trusted: TrustedKeys, folder: Path) -> None:
    """Brings the files of a version's tokenizer, and its config.json, into a folder.

    Raises:
        RefusedModel: The signature or a file is wrong.
        StoreError: The store failed.
    """
    try:
        trusted.check(manifest)
    except Untrusted as error:
        raise RefusedModel(str(error)) from None
    for file in manifest.files:
        if is_tokenizer_file(file.name) or file.name == CONFIG:
            place = folder / file.name
            place.parent.mkdir(parents=True, exist_ok=True)
            name = object_name(manifest.model, manifest.version, file.name)
            if await store.download(name, place, lambda _: None) != file.sha256:
                raise RefusedModel(f"{name} is corrupt: its SHA-256 is not what its manifest says")


def _prompt(example: Example) -> int:
    """Tokens before the first that is learnt."""
    return next((at for at, label in enumerate(example.labels) if label != IGNORED), len(example.labels))
