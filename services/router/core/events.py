"""What scripts report: events for gateways and workers, and answers to a call of the script submit.

Each class here declares the fields of one kind of JSON document, which Lua or Python writes. Both sides read the
declaration: `decode_event` and `decode_answer` take their fields from it, tests/tidy/test_events.py checks every table
that Lua writes against it, and queue/frames.py takes the fields of a frame from it.

A field is named as in the frames for gateways. If it has another name in JSON, the declaration has that name too, as in
`Annotated[str, "request"]`. Names in JSON must stay, because replicas of different releases leave each other events.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from operator import itemgetter
from typing import Annotated, Any, ClassVar, get_args

import orjson

from services.shared.classes import ServiceClass


@dataclass(frozen=True, slots=True)
class LimitState:
    """What remains of a limit. A limit of 0 is no limit. `_reset_ms`: until the budget is full again."""

    name: str
    requests_limit: int
    requests_remaining: int
    requests_reset_ms: int
    tokens_limit: int
    tokens_remaining: int
    tokens_reset_ms: int


@dataclass(frozen=True, slots=True)
class Granted:
    """A request has a slot on a worker.

    Attributes:
        queue_wait_ms: Time from Submit to this grant.
        expected_cached_tokens: Tokens of the prompt that the worker's cache is believed to hold.
        limits: Only in an answer to submit.
    """

    kind: ClassVar = "grant"
    session: str
    request_id: Annotated[str, "request"]
    attempt: int
    service_class: Annotated[ServiceClass, "rank"]
    worker_id: Annotated[str, "worker"]
    worker_address: Annotated[str, "address"]
    worker_epoch: Annotated[int, "epoch"]
    model_version: Annotated[str, "version"]
    queue_wait_ms: Annotated[int, "wait_ms"]
    expected_cached_tokens: Annotated[int, "cached"] = 0
    limits: tuple[LimitState, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoked:
    """A grant is taken back. `reason`: lost, restarted or stuck."""

    kind: ClassVar = "revoke"
    session: str
    request_id: Annotated[str, "request"]
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """A request has waited until its deadline."""

    kind: ClassVar = "expired"
    session: str
    request_id: Annotated[str, "request"]
    attempt: int


@dataclass(frozen=True, slots=True)
class Displaced:
    """A request was the last of a full queue, and a request of another tenant took its place."""

    kind: ClassVar = "crowded_out"
    session: str
    request_id: Annotated[str, "request"]
    attempt: int
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Preempted:
    """The gateway is asked to give a running request up."""

    kind: ClassVar = "yield"
    session: str
    request_id: Annotated[str, "request"]
    attempt: int


@dataclass(frozen=True, slots=True)
class DrainAsked:
    """A worker is asked to take no more work and to end."""

    kind: ClassVar = "drain"
    worker_id: Annotated[str, "worker"]
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class DeliveryAsked:
    """A worker is asked to change its weights, or those of its speculator.

    mode: a SwapMode; "" for the pool's, and from an earlier release.
    """

    kind: ClassVar = "deliver"
    worker_id: Annotated[str, "worker"]
    delivery_id: Annotated[str, "delivery"]
    model_version: Annotated[str, "version"]
    finish_timeout_ms: int
    mode: str = ""
    speculator: bool = False


@dataclass(frozen=True, slots=True)
class StageAsked:
    """A worker is asked to bring a version to its disk, for a later rollout."""

    kind: ClassVar = "stage"
    worker_id: Annotated[str, "worker"]
    stage_id: Annotated[str, "stage"]
    model_version: Annotated[str, "version"]
    speculator: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """A request waits. `position`: requests that go before it. `wait_ms`: expected at the present pace."""

    kind: ClassVar = "queued"
    position: int
    wait_ms: int = 0
    limits: tuple[LimitState, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """A request may not wait.

    Attributes:
        kind: stale, queue_full, no_workers, expired or limited.
        retry_after_ms: None if it is not known, 0 for never.
        limit: Name of the limit that refuses it.
    """

    kind: str
    retry_after_ms: int | None = None
    limit: str = ""
    limits: tuple[LimitState, ...] = ()


Event = Granted | Revoked | Expired | Displaced | Preempted | DrainAsked | DeliveryAsked | StageAsked
Answer = Granted | Queued | Refused | Revoked

EVENTS: Mapping[str, type[Event]] = {
    event.kind: event
    for event in (Granted, Revoked, Expired, Displaced, Preempted, DrainAsked, DeliveryAsked, StageAsked)
}
REFUSALS: Mapping[str, tuple[str, ...]] = {
    "stale": (),
    "queue_full": ("retry_after_ms",),
    "no_workers": (),
    "expired": (),
    "limited": ("limit", "retry_after_ms"),
}
"""The fields of each kind of refusal, beside `limits`."""

Convert = Callable[[Any], Any]

_CONVERT: Mapping[Any, Convert] = {int: int, ServiceClass: lambda rank: ServiceClass(int(rank))}


def _declared(event: type[Any]) -> tuple[tuple[str, Convert | None], ...]:
    found = []
    for declared in fields(event):
        plain, name = get_args(declared.type) or (declared.type, declared.name)
        if declared.name != "limits":
            found.append((name, _CONVERT.get(plain)))
    return tuple(found)


_FIELDS = {event: _declared(event) for event in (*EVENTS.values(), Queued)}
# For each event what takes its values from JSON, and which of them are converted: made once, as grants are frequent.
_READERS = {
    event: (
        itemgetter(*(name for name, _ in declared)),
        tuple((index, convert) for index, (_, convert) in enumerate(declared) if convert),
    )
    for event, declared in _FIELDS.items()
}


def json_fields(event: type[Any]) -> tuple[tuple[str, Convert | None], ...]:
    """The fields of an event, or of Queued, in order and without `limits`.

    Returns:
        For each its name in JSON, and what makes a value the field's type; None for text. Lua writes some numbers as
        strings, and others with a fraction.
    """
    return _FIELDS[event]


def decode_event(document: bytes) -> Event:
    """Reads an event.

    Raises:
        ValueError: The kind is unknown.
    """
    found = orjson.loads(document)
    event = EVENTS.get(found["kind"])
    if event is None:
        raise ValueError(f"unknown event {found['kind']!r}")
    if event is DeliveryAsked:
        found.setdefault("mode", "")
    if event in (DeliveryAsked, StageAsked):
        found.setdefault("speculator", False)
    return event(*_values(event, found))


def encode_event(event: DrainAsked | DeliveryAsked | StageAsked) -> bytes:
    """Writes an event that no script writes, for the outbox of another replica."""
    names = (name for name, _ in json_fields(type(event)))
    values = (getattr(event, f.name) for f in fields(event))
    return orjson.dumps({"kind": event.kind, **dict(zip(names, values, strict=True))})


def decode_answer(document: bytes, session: str, request_id: str, attempt: int) -> Answer:
    """Reads the answer to a call of submit, for the request that was submitted."""
    found = orjson.loads(document)
    limits = tuple(_limit_state(state) for state in found.get("limits", ()))
    match found["kind"]:
        case Granted.kind:
            return Granted(*[*_values(Granted, found), limits])
        case Queued.kind:
            return Queued(*[*_values(Queued, found), limits])
        case Revoked.kind:
            return Revoked(session, request_id, attempt, found["reason"])
        case kind:
            return Refused(kind, found.get("retry_after_ms"), found.get("limit", ""), limits)


def _values(event: type[Any], found: Mapping[str, Any]) -> list[Any]:
    in_order, converted = _READERS[event]
    values = list(in_order(found))
    for index, convert in converted:
        values[index] = convert(values[index])
    return values


def _limit_state(found: Mapping[str, Any]) -> LimitState:
    """Lua's numbers are doubles; these are whole ones."""
    numbers: dict[str, int] = {name: int(value) for name, value in found.items() if name != "name"}
    return LimitState(found["name"], **numbers)
