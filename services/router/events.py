"""What scripts report: answers to a call, and events for gateways and workers. Decoded once, here."""

from dataclasses import dataclass
from typing import Any

import orjson

from services.shared.classes import ServiceClass


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
class DrainAsked:
    worker_id: str
    timeout_ms: int


@dataclass(frozen=True, slots=True)
class Queued:
    position: int


@dataclass(frozen=True, slots=True)
class Refused:
    """kind: stale, queue_full, no_workers, expired."""

    kind: str


@dataclass(frozen=True, slots=True)
class DeliveryAsked:
    worker_id: str
    delivery_id: str
    model_version: str
    finish_timeout_ms: int


Event = Granted | Revoked | Expired | DrainAsked | DeliveryAsked
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
    match fields["kind"]:
        case "grant":
            return _granted(fields)
        case "queued":
            return Queued(int(fields["position"]))
        case "revoke":
            return Revoked(session, request_id, attempt, fields["reason"])
        case kind:
            return Refused(kind)


def _granted(fields: dict[str, Any]) -> Granted:
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
    )
