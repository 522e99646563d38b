"""What became of the documents: how many came in, how many each step dropped and why, how many came out."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict

from trainer.data.shard_manifest import ShardSource
from trainer.data.wrong import WrongData
from trainer.preparing.plan import Plan

REPORT = "report.json"
SHOWN = 3
"""Examples of each reason."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Amount(_Part):
    """Documents, and their tokens with the end tokens."""

    documents: int = 0
    tokens: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        return Amount(documents=self.documents + other.documents, tokens=self.tokens + other.tokens)


class Example(_Part):
    """A document that was dropped: its place, and the beginning of its text or what was found in it."""

    document: str
    text: str


class Drop(_Part):
    """What one step dropped for one reason."""

    step: str
    reason: str
    documents: int
    tokens: int
    examples: tuple[Example, ...]


class SourceReport(_Part):
    """One source."""

    name: str
    weight: float
    read: Amount
    kept: Amount


class TaskCount(_Part):
    """What one task counted."""

    documents: int
    tokens: int
    dropped: tuple[Drop, ...]
    replaced: dict[str, int]

    @classmethod
    def read(cls, folder: Path, task: int) -> Self:
        """From the file of a task."""
        return cls.model_validate_json((folder / f"{task:05d}.json").read_bytes())


class Preparation(_Part):
    """The whole report.

    Attributes:
        dropped: In the order of the steps.
        cleaned_tokens: Tokens that steps took out of documents which stayed: lines, addresses. Below 0: they put in.
        replaced: Addresses of persons, by kind.
        decontamination: `texts` and `groups` of words of the evaluation sets, and texts that are `too_short`; or None.
        files_left_out: Files of the sources whose names are no data's.
    """

    read: Amount
    dropped: tuple[Drop, ...]
    cleaned_tokens: int
    kept: Amount
    sources: tuple[SourceReport, ...]
    replaced: dict[str, int]
    decontamination: dict[str, int] | None
    files_left_out: int
    vocab_size: int

    @property
    def dropped_documents(self) -> int:
        """By all steps."""
        return sum(drop.documents for drop in self.dropped)


def make_report(
    plan: Plan,
    counts: Sequence[TaskCount],
    sources: Sequence[ShardSource],
    steps: Sequence[str],
    decontamination: Mapping[str, int] | None,
    vocab_size: int,
) -> Preparation:
    """Adds up what the tasks counted.

    Raises:
        WrongData: The documents that were read are not those that were dropped and kept: a file has changed meanwhile.
    """
    read = sum((Amount(documents=count.documents, tokens=count.tokens) for count in counts), Amount())
    kept = {source.name: Amount(documents=source.documents, tokens=source.tokens) for source in sources}
    all_kept = sum(kept.values(), Amount())
    dropped = _dropped(counts, steps)
    gone = Amount(documents=sum(d.documents for d in dropped), tokens=sum(d.tokens for d in dropped))
    if read.documents != gone.documents + all_kept.documents:
        raise WrongData(
            f"{read.documents} documents were read, {gone.documents} dropped and {all_kept.documents} kept: a file of a"
            " source has changed meanwhile; remove the work folder and start again"
        )
    replaced: Counter[str] = Counter()
    for count in counts:
        replaced.update(count.replaced)
    return Preparation(
        read=read,
        dropped=dropped,
        cleaned_tokens=read.tokens - gone.tokens - all_kept.tokens,
        kept=all_kept,
        sources=tuple(_source(source.name, source.weight, plan, counts, kept) for source in sources),
        replaced=dict(sorted(replaced.items())),
        decontamination=dict(decontamination) if decontamination is not None else None,
        files_left_out=plan.files_left_out,
        vocab_size=vocab_size,
    )


def write_report(folder: Path, report: Preparation) -> None:
    """Whole or not at all."""
    draft = folder / f".{REPORT}.new"
    draft.write_text(json.dumps(report.model_dump(mode="json"), indent=1) + "\n")
    draft.replace(folder / REPORT)


def _dropped(counts: Sequence[TaskCount], steps: Sequence[str]) -> tuple[Drop, ...]:
    found: dict[tuple[int, str], list[Drop]] = {}
    for count in counts:
        for drop in count.dropped:
            found.setdefault((steps.index(drop.step), drop.reason), []).append(drop)
    return tuple(
        Drop(
            step=drops[0].step,
            reason=drops[0].reason,
            documents=sum(drop.documents for drop in drops),
            tokens=sum(drop.tokens for drop in drops),
            examples=tuple(example for drop in drops for example in drop.examples)[:SHOWN],
        )
        for _, drops in sorted(found.items(), key=lambda entry: entry[0])
    )


def _source(
    name: str, weight: float, plan: Plan, counts: Sequence[TaskCount], kept: Mapping[str, Amount]
) -> SourceReport:
    own = [count for task, count in zip(plan.tasks, counts, strict=True) if task.source == name]
    read = sum((Amount(documents=count.documents, tokens=count.tokens) for count in own), Amount())
    return SourceReport(name=name, weight=weight, read=read, kept=kept[name])
