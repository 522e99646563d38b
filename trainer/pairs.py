"""Preference pairs as tokens: a prompt, the answer that people prefer, and the other; and judged answers."""

from collections.abc import Iterable
from dataclasses import dataclass

from trainer.data.sample import Conversation, Message, PreferencePair, Sample, kind_of
from trainer.data.wrong import WrongData
from trainer.examples import IGNORED, Example, Rendered, Renderer


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


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """Tokens of a prompt and an answer, and whether people like the answer."""

    prompt: list[int]
    answer: list[int]
    good: bool


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


def judged_answers(samples: Iterable[Sample], renderer: Renderer, max_length: int) -> Rendered[JudgedAnswer]:
    """Renders judged answers; a preference pair is two of them. One whose prompt alone fills the limit is dropped.

    Args:
        samples: Judged answers or preference pairs.
        renderer: By the base's chat template.
        max_length: Most tokens of a prompt with its answer.

    Raises:
        WrongData: A sample is neither, or the chat template does not go with it.
    """
    made = [answer for sample in samples for answer in _judged(sample, renderer)]
    kept = tuple(answer for answer in made if len(answer.prompt) < max_length)
    cut = sum(len(answer.prompt) + len(answer.answer) > max_length for answer in kept)
    return Rendered(kept, cut, len(made) - len(kept))


def _judged(sample: Sample, renderer: Renderer) -> list[JudgedAnswer]:
    if isinstance(sample, PreferencePair):
        pair = _pair(sample, renderer, "kto")
        return [JudgedAnswer(pair.prompt, pair.chosen, True), JudgedAnswer(pair.prompt, pair.rejected, False)]
    if not isinstance(sample, Conversation) or sample.good is None:
        raise WrongData(
            f"{sample.place}: method kto learns from judged answers (prompt, completion and label) or preference pairs,"
            f" and the data holds {kind_of(sample)}"
        )
    if sample.turns != (len(sample.messages) - 1,):
        raise WrongData(
            f"{sample.place}: completion has {len(sample.messages) - sample.turns[0]} turns; method kto judges one"
            " turn. Put the turns before it into prompt"
        )
    return [JudgedAnswer(*_parted(renderer.answer(sample, sample.turns[0])), sample.good)]


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
    return _parted(renderer.answer(conversation, len(sample.prompt)))


def _parted(example: Example) -> tuple[list[int], list[int]]:
    """The prompt of an example, and its answer."""
    begins = next((at for at, label in enumerate(example.labels) if label != IGNORED), len(example.labels))
    return example.input_ids[:begins], example.input_ids[begins:]
