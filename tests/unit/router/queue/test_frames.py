"""Frames have what the events say."""

from services.router.core.events import EVENTS, Granted, LimitState
from services.router.queue import frames
from services.shared.classes import ServiceClass
from tidegate.router.v1 import router_pb2 as pb


def test_every_field_of_a_grant_frame_is_filled() -> None:
    limits = (LimitState("key", 1, 2, 3, 4, 5, 6),)
    event = Granted("s", "r", 2, ServiceClass.FLEX, "w", "h:1", 18_000_000_000_000_000_000, "v", 12, 34, limits)
    grant = frames.grant(event).grant
    assert {described.name for described, _ in grant.ListFields()} == set(pb.Grant.DESCRIPTOR.fields_by_name)
    assert (grant.worker_epoch, grant.queue_wait_ms, grant.expected_cached_tokens) == (
        18_000_000_000_000_000_000,
        12,
        34,
    )
    assert (grant.service_class, grant.limits[0].tokens_reset_ms) == (pb.SERVICE_CLASS_FLEX, 6)


def test_a_limit_state_has_the_fields_of_its_message() -> None:
    assert frames.common_fields(LimitState, pb.LimitState) == tuple(pb.LimitState.DESCRIPTOR.fields_by_name)


def test_every_event_for_gateways_has_a_frame() -> None:
    for_gateways = {event for event in EVENTS.values() if "session" in event.__dataclass_fields__}
    assert for_gateways == set(frames._EVENT_FRAMES)
