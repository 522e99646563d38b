"""The history of rollouts: what happened, when, and who wanted it and why. Redis keeps the last entries of a pool."""

from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Self

import orjson

from services.router.core.rollout_record import RolloutRecord, State


class EventKind(StrEnum):
    """What happened."""

    STARTED = "started"
    STEP_REACHED = "step_reached"
    STEP_PASSED = "step_passed"
    ADMISSION_CHANGED = "admission_changed"
    PAUSED = "paused"
    RESUMED = "resumed"
    UNDOING = "undoing"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of the history.

    Attributes:
        at_ms: When (Unix milliseconds).
        revision: Of the rollout record; with the rollout's id it names the event.
        step: From 1; 0 if the policy has no steps.
        who: Who wanted it; "" is the router.
        mode: What workers do with requests that run when their weights change; "" in entries of an earlier release.
    """

    kind: EventKind
    at_ms: int
    rollout_id: str
    revision: int
    target: str
    previous: str
    policy: str
    step: int = 0
    who: str = ""
    why: str = ""
    mode: str = ""

    def to_json(self) -> str:
        """For Redis; `of_json` reads it."""
        return orjson.dumps(asdict(self)).decode()

    @classmethod
    def of_json(cls, document: bytes) -> Self:
        """Raises ValueError for what `to_json` has not written. Fields of a later release are left out."""
        values = orjson.loads(document)
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**known | {"kind": EventKind(values["kind"])})


def event_of(
    old: RolloutRecord | None, new: RolloutRecord, *, now_ms: int, who: str = "", why: str = ""
) -> Event | None:
    """What a change of the record is to people; None if it is a turn of a worker, or nothing that they would look for.

    Args:
        old: The record before; None if there was none.
        new: The record after.
        now_ms: The time.
        who: The person who wants the change; "" is the router.
        why: Why, as that person says.
    """
    kind = _kind(old, new)
    if kind is None:
        return None
    if kind is EventKind.STARTED:
        who, why = new.who, new.why
    if kind in (EventKind.UNDOING, EventKind.FAILED):
        why = new.reason
    step = min(new.step, len(new.policy.steps) - 1) + 1 if new.policy.steps else 0
    # The step that was passed, not the one that follows.
    step = step if kind is not EventKind.STEP_PASSED or old is None else old.step + 1
    return Event(
        kind,
        now_ms,
        new.rollout_id,
        new.revision,
        new.target,
        new.previous,
        new.policy.kind,
        step,
        who=who,
        why=why,
        mode=new.mode,
    )


def _kind(old: RolloutRecord | None, new: RolloutRecord) -> EventKind | None:
    if old is None or old.rollout_id != new.rollout_id:
        return EventKind.STARTED
    if old.state is not new.state:
        return _OF_STATE[new.state]
    if bool(old.paused_ms) != bool(new.paused_ms):
        return EventKind.PAUSED if new.paused_ms else EventKind.RESUMED
    if old.step != new.step:
        return EventKind.STEP_PASSED
    if new.step_since_ms and not old.step_since_ms:
        return EventKind.STEP_REACHED
    return EventKind.ADMISSION_CHANGED if old.admits != new.admits else None


_OF_STATE = {
    State.UNDOING: EventKind.UNDOING,
    State.DONE: EventKind.DONE,
    State.FAILED: EventKind.FAILED,
    State.ROLLING: EventKind.STARTED,
}
