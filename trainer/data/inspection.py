"""What a data set holds, for people: counts, lengths, and a few samples as they are learnt."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from trainer.data.reader import Reader
from trainer.data.report import Report
from trainer.data.sample import Conversation, Kind, Message, Sample, Text, kind_of

SHOWN = 3
"""Samples that are shown."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a sample as the model is given it."""

    text: str
    learnt: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence that is learnt. Lengths are in the unit of the measure.

    Attributes:
        length: Of the whole sequence.
        prompt: What comes before the first part that is learnt.
    """

    length: int
    prompt: int


class Measure(Protocol):
    """How long samples are, and what they look like."""

    @property
    def unit(self) -> str:
        """What lengths count."""
        ...

    def rows(self, sample: Sample) -> Sequence[Row]:
        """The sequences that a sample becomes. Raises WrongData."""
        ...

    def spans(self, sample: Sample) -> Sequence[Span]:
        """The whole sample. Raises WrongData."""
        ...


@dataclass(slots=True)
class Lengths:
    """Lengths of sequences, in buckets whose upper ends are powers of two."""

    buckets: Counter[int] = field(default_factory=Counter)
    longest: int = 0
    total: int = 0

    def add(self, length: int) -> None:
        """Counts a length."""
        self.buckets[max(1, 1 << (length - 1).bit_length())] += 1
        self.longest, self.total = max(self.longest, length), self.total + length

    @property
    def count(self) -> int:
        """How many there are."""
        return self.buckets.total()

    def histogram(self) -> list[tuple[int, int, int]]:
        """Each bucket between the first and the last: from, to (both are counted in), how many."""
        if not self.buckets:
            return []
        ends, end = [], min(self.buckets)
        while end <= max(self.buckets):
            ends.append(end)
            end *= 2
        return [(end // 2 + 1, end, self.buckets[end]) for end in ends]


@dataclass(frozen=True, slots=True)
class Limited:
    """What a limit of the length does to sequences."""

    max_length: int
    whole: int
    cut: int
    dropped: int


@dataclass(frozen=True, slots=True)
class Inspection:
    """See the module. `limited` is None where lengths are not in tokens: the limit counts those."""

    kind: Kind | None
    report: Report
    unit: str
    lengths: Lengths
    limited: Limited | None
    shown: Sequence[Sequence[Span]]

    def document(self) -> dict[str, Any]:
        """As JSON."""
        limited = self.limited
        return {
            "kind": self.kind,
            **self.report.document(),
            "unit": self.unit,
            "rows": self.lengths.count,
            "longest": self.lengths.longest,
            "total": self.lengths.total,
            "histogram": [{"from": low, "to": high, "rows": count} for low, high, count in self.lengths.histogram()],
            "max_length": {
                "tokens": limited.max_length,
                "whole": limited.whole,
                "cut": limited.cut,
                "dropped": limited.dropped,
            }
            if limited
            else None,
            "shown": [[{"text": span.text, "learnt": span.learnt} for span in spans] for spans in self.shown],
        }


class Characters:
    """Lengths in characters, for which no tokenizer is needed."""

    unit = "characters"

    def rows(self, sample: Sample) -> Sequence[Row]:
        """One for each answer that is learnt, with all that came before it."""
        if isinstance(sample, Text):
            return [Row(len(sample.text), 0)]
        if isinstance(sample, Conversation):
            return [_row(sample.messages, turn) for turn in sample.turns]
        sides = ((*sample.prompt, *answer) for answer in (sample.chosen, sample.rejected))
        return [_row(side, len(sample.prompt), len(side) - 1) for side in sides]

    def spans(self, sample: Sample) -> Sequence[Span]:
        """Each turn with its role."""
        if isinstance(sample, Text):
            return [Span(sample.text, learnt=True)]
        if isinstance(sample, Conversation):
            return _spans(sample.messages)
        answers = (("chosen", sample.chosen), ("rejected", sample.rejected))
        sides = [[Span(f"[{name}]\n", learnt=False), *_spans(answer)] for name, answer in answers]
        return [*_spans(sample.prompt), *sides[0], *sides[1]]


def inspect(reader: Reader, measure: Measure, max_length: int) -> Inspection:
    """Reads the data once, a sample at a time.

    Args:
        reader: Not read from yet.
        measure: What lengths count. The limit is looked at only if they count tokens.
        max_length: The limit of the length, in tokens.

    Raises:
        WrongData: See Reader, and the measure.
    """
    lengths, fates = Lengths(), Counter[str]()
    shown: list[Sequence[Span]] = []
    kind: Kind | None = None
    for sample in reader.samples():
        kind = kind or kind_of(sample)
        for row in measure.rows(sample):
            lengths.add(row.length)
            fates[_fate(row, max_length)] += 1
        if len(shown) < SHOWN:
            shown.append([*_verdict(sample), *measure.spans(sample)])
    counts_tokens = measure.unit == "tokens"
    limited = Limited(max_length, fates["whole"], fates["cut"], fates["dropped"]) if counts_tokens else None
    return Inspection(kind, reader.report, measure.unit, lengths, limited, shown)


def _verdict(sample: Sample) -> list[Span]:
    """What people think of a judged answer: a bad one is learnt not to be said."""
    if not isinstance(sample, Conversation) or sample.good is None:
        return []
    return [Span("[good]\n" if sample.good else "[bad]\n", learnt=False)]


def _fate(row: Row, max_length: int) -> str:
    if row.length <= max_length:
        return "whole"
    return "cut" if row.prompt < max_length else "dropped"


def _row(messages: Sequence[Message], first: int, last: int | None = None) -> Row:
    prompt = _length(messages[:first])
    return Row(_length(messages[: (first if last is None else last) + 1]), prompt)


def _length(messages: Iterable[Message]) -> int:
    return sum(len(message.content) for message in messages)


def _spans(messages: Iterable[Message]) -> list[Span]:
    found: list[Span] = []
    for message in messages:
        calls = [f"{call['function']['name']} {call['function']['arguments']}" for call in message.tool_calls]
        said = "\n".join(filter(None, (message.reasoning, message.content, *calls)))
        found += [Span(f"{message.role}: ", learnt=False), Span(f"{said}\n", message.learnt)]
    return found
