"""Answers cut somewhere and resumed: what a client has had, and what the two parts come to."""

from collections.abc import Iterable
from dataclasses import dataclass

from services.worker.credit import split
from services.worker.engine.contract import Delta, Event, ResumePoint


@dataclass(frozen=True, slots=True)
class Whole:
    """One choice as its reader has it."""

    token_ids: tuple[int, ...]
    text: str
    reasoning: str
    endings: tuple[tuple[str, str | int], ...]
    logprob_ids: tuple[int, ...]
    text_end: int


def deltas(events: Iterable[Event], choice: int = 0) -> list[Delta]:
    return [event for event in events if isinstance(event, Delta) and event.choice == choice]


def whole(parts: list[Delta]) -> Whole:
    return Whole(
        token_ids=tuple(token for part in parts for token in part.token_ids),
        text="".join(part.text for part in parts),
        reasoning="".join(part.reasoning for part in parts),
        endings=tuple((part.finish_reason, part.stop_reason) for part in parts if part.finish_reason),
        logprob_ids=tuple(entry.token_id for part in parts for entry in part.logprobs),
        text_end=parts[-1].text_end if parts else 0,
    )


def cut(events: Iterable[Event], after: int, *, torn: bool) -> list[Delta]:
    """The first `after` deltas; torn: of the last one its tokens alone, as when credit ran out within it."""
    told = [event for event in events if isinstance(event, Delta)][:after]
    return [*told[:-1], split(told[-1], len(told[-1].token_ids))[0]] if torn else told


def points(told: list[Delta]) -> dict[int, ResumePoint]:
    """What a gateway that has had these deltas asks the next worker to go on from."""
    parts = {part.choice: whole(deltas(told, part.choice)) for part in told}
    return {
        choice: ResumePoint(part.token_ids, part.text_end, finished=bool(part.endings))
        for choice, part in parts.items()
    }
