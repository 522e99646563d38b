"""What scripts report: answers to a call, and events for gateways and workers. Decoded once, here."""

from dataclasses import dataclass
from typing import Any

import orjson

from services.shared.classes import ServiceClass


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit of 0 is none. Times in milliseconds until the budget is whole again."""

    name: str
    requests_limit: int
    requests_remaining: int
    requests_reset_ms: int
    tokens_limit: int
    tokens_remaining: int
    tokens_reset_ms: int


@dataclass(frozen=True, slots=True)
class Granted:
    session: str
    request_id: str
    attempt: int
    service_class: ServiceClass
    worker_id: str
    worker_address: str
    worker_epoch: int
    model_version: str
    waited_ms: int
    expected_cached_tokens: int = 0
    limits: tuple[LimitState, ...] = ()


@dataclass(frozen=True, slots=True)
class Revoked:
    session: str
    request_id: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    session: str
    request_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class CrowdedOut:
    """It waited at the end of a full queue, and another tenant's request took its room."""

    session: str
    request_id: str
    attempt: int
    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class YieldAsked:
    session: str
    request_id: str
    attempt: int


@dataclass(frozen=True, slots=True)
class DrainAsked:
    worker_id: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Queued:
    """`position`: requests that go first. `wait_ms`: at the present pace."""

    position: int
    wait_ms: int = 0
    limits: tuple[LimitState, ...] = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """kind: stale, queue_full, no_workers, expired, limited. `retry_after_ms`: None if it is not known, 0 for never."""

    kind: str
    retry_after_ms: int | None = None
    limit: str = ""
    limits: tuple[LimitState, ...] = ()


@dataclass(frozen=True, slots=True)
class DeliveryAsked:
    worker_id: str
    delivery_id: str
    model_version: str
    finish_timeout_ms: int


Event = Granted | Revoked | Expired | CrowdedOut | YieldAsked | DrainAsked | DeliveryAsked
Answer = Granted | Queued | Refused | Revoked


def decode_event(document: bytes) -> Event:
    fields = orjson.loads(document)
    match fields["kind"]:
        case "grant":
            return _granted(fields)
        case "revoke":
            return Revoked(fields["session"], fields["request"], int(fields["attempt"]), fields["reason"])
        case "expired":
            return Expired(fields["session"], fields["request"], int(fields["attempt"]))
        case "crowded_out":
            retry_after_ms = int(fields["retry_after_ms"])
            return CrowdedOut(fields["session"], fields["request"], int(fields["attempt"]), retry_after_ms)
        case "yield":
            return YieldAsked(fields["session"], fields["request"], int(fields["attempt"]))
        case "drain":
            return DrainAsked(fields["worker"], int(fields["timeout_ms"]))
        case "deliver":
            return DeliveryAsked(
                fields["worker"], fields["delivery"], fields["version"], int(fields["finish_timeout_ms"])
            )
        case kind:
            raise ValueError(f"unknown event {kind!r}")


def encode_drain(event: DrainAsked) -> bytes:
    return orjson.dumps({"kind": "drain", "worker": event.worker_id, "timeout_ms": event.timeout_ms})


def encode_delivery(event: DeliveryAsked) -> bytes:
    return orjson.dumps(
        {
            "kind": "deliver",
            "worker": event.worker_id,
            "delivery": event.delivery_id,
            "version": event.model_version,
            "finish_timeout_ms": event.finish_timeout_ms,
        }
    )


def decode_answer(document: bytes, session: str, request_id: str, attempt: int) -> Answer:
    fields = orjson.loads(document)
    limits = tuple(_limit_state(state) for state in fields.get("limits", ()))
    match fields["kind"]:
        case "grant":
            return _granted(fields, limits)
        case "queued":
            return Queued(int(fields["position"]), int(fields["wait_ms"]), limits)
        case "revoke":
            return Revoked(session, request_id, attempt, fields["reason"])
        case kind:
            return Refused(kind, fields.get("retry_after_ms"), fields.get("limit", ""), limits)


def _limit_state(fields: dict[str, Any]) -> LimitState:
    """Lua's numbers are doubles; these are whole ones."""
    numbers: dict[str, int] = {name: int(value) for name, value in fields.items() if name != "name"}
    return LimitState(fields["name"], **numbers)


def _granted(fields: dict[str, Any], limits: tuple[LimitState, ...] = ()) -> Granted:
    return Granted(
        session=fields["session"],
        request_id=fields["request"],
        attempt=int(fields["attempt"]),
        service_class=ServiceClass(int(fields["rank"])),
        worker_id=fields["worker"],
        worker_address=fields["address"],
        worker_epoch=int(fields["epoch"]),
        model_version=fields["version"],
        waited_ms=int(fields["wait_ms"]),
        expected_cached_tokens=int(fields["cached"]),
        limits=limits,
    )
