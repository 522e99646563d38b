"""Preference pairs as tokens: a prompt, the answer that people prefer, and the other."""

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.data.sample import Conversation, Message, PreferencePair, Sample, kind_of
from trainer.data.wrong import WrongData
from trainer.examples import IGNORED, Rendered, Renderer


@dataclass(frozen=True, slots=True)
class Pair:
    """Tokens of a prompt and of both answers."""

    prompt: list[int]
    chosen: list[int]
    rejected: list[int]

    @property
    def length(self) -> int:
        """Tokens of the prompt with the longer answer."""
        return len(self.prompt) + max(len(self.chosen), len(self.rejected))


Pairs = Rendered[Pair]


def pairs(samples: Iterable[Sample], renderer: Renderer, max_length: int, method: str) -> Pairs:
    """Renders preference pairs. One whose prompt alone fills the limit is dropped.

    Args:
        samples: Preference pairs.
        renderer: By the base's chat template.
        max_length: Most tokens of a prompt with one answer.
        method: Of the recipe, for messages.

    Raises:
        WrongData: A sample is no preference pair, or the chat template does not go with it.
    """
    made = [_pair(sample, renderer, method) for sample in samples]
    kept = tuple(pair for pair in made if len(pair.prompt) < max_length)
    cut = sum(pair.length > max_length for pair in kept)
    return Rendered(kept, cut, len(made) - len(kept))


def whole_pairs(samples: Iterable[Sample], renderer: Renderer, max_length: int, method: str) -> Pairs:
    """The same, where an answer counts by its end: a pair of which a side goes beyond the limit is dropped."""
    made = [_pair(sample, renderer, method) for sample in samples]
    kept = tuple(pair for pair in made if pair.length <= max_length)
    return Rendered(kept, 0, len(made) - len(kept))


def _pair(sample: Sample, renderer: Renderer, method: str) -> Pair:
    if not isinstance(sample, PreferencePair):
        raise WrongData(
            f"{sample.place}: method {method} learns from preference pairs, and the data holds {kind_of(sample)}"
        )
    prompt, chosen = _answer(sample, sample.chosen, renderer, method)
    _, rejected = _answer(sample, sample.rejected, renderer, method)
    return Pair(prompt, chosen, rejected)


def _answer(
    sample: PreferencePair, answer: tuple[Message, ...], renderer: Renderer, method: str
) -> tuple[list[int], list[int]]:
    """The tokens of the prompt, and those of one answer after it."""
    if len(answer) != 1:
        raise WrongData(
            f"{sample.place}: an answer has {len(answer)} turns; method {method} compares one turn with one. Put the"
            " turns before it into prompt"
        )
    conversation = Conversation(sample.place, (*sample.prompt, *answer), sample.tools)
    example = renderer.answer(conversation, len(sample.prompt))
    begins = next((at for at, label in enumerate(example.labels) if label != IGNORED), len(example.labels))
    return example.input_ids[:begins], example.input_ids[begins:]
