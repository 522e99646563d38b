"""What is kept for Idempotency-Keys, and what has to go for it."""

from typing import Any, cast

import pytest

from services.gateway.http.connection.client import EVENTS
from services.gateway.http.idempotency import recorded_responses as module
from services.gateway.http.idempotency.key import IdempotentRequest
from services.gateway.http.idempotency.recorded_responses import (
    BEGINNING,
    KEPT_S,
    Amount,
    RecordedResponse,
    RecordedResponses,
    ReplayPosition,
)
from services.gateway.resume.resumable_stream import Event
from services.shared.errors import EngineFailed, InternalError, Overloaded
from tests.support.clock import ManualClock


class Answered:
    status = 200


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", Amount(4, 100))
    monkeypatch.setattr(module, "TENANT_LIMIT", Amount(3, 60))
    monkeypatch.setattr(module, "MAX_ANSWER_BYTES", 50)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def kept(clock: ManualClock) -> RecordedResponses:
    return RecordedResponses(clock)


def begin(kept: RecordedResponses, tenant: str, name: str) -> RecordedResponse:
    request = IdempotentRequest((tenant, name), b"digest", "")
    kept.make_room(request.key)
    recording = RecordedResponse(request, cast(Any, Answered()), kept)
    kept.add(recording)
    return recording


async def ended(kept: RecordedResponses, tenant: str, name: str, size: int) -> RecordedResponse:
    recording = begin(kept, tenant, name)
    await send(recording, size)
    kept.end(recording, None)
    return recording


async def send(recording: RecordedResponse, size: int, *, more: bool = True) -> None:
    await recording.send({"type": "http.response.body", "body": b"x" * size, "more_body": more})


def names(kept: RecordedResponses, tenant: str) -> set[str]:
    return {name for name in "abcdef" if kept.get((tenant, name))}


async def test_what_ended_first_goes_first(kept: RecordedResponses) -> None:
    running = begin(kept, "t", "a")
    await ended(kept, "t", "c", 1)
    await ended(kept, "t", "b", 1)
    begin(kept, "t", "d")
    assert names(kept, "t") == {"a", "b", "d"}
    assert kept.get(("t", "a")) == (running,)


async def test_a_tenant_makes_room_among_its_own(kept: RecordedResponses) -> None:
    await ended(kept, "other", "a", 1)
    for name in "abc":
        await ended(kept, "t", name, 1)
    begin(kept, "t", "d")
    assert (names(kept, "other"), names(kept, "t")) == ({"a"}, {"b", "c", "d"})


async def test_all_tenants_together_are_bounded(kept: RecordedResponses) -> None:
    for tenant in ("s", "t"):
        await ended(kept, tenant, "a", 1)
        await ended(kept, tenant, "b", 1)
    begin(kept, "u", "a")
    assert [names(kept, tenant) for tenant in "stu"] == [{"b"}, {"a", "b"}, {"a"}]


async def test_one_that_grows_takes_the_room_of_those_that_ended(kept: RecordedResponses) -> None:
    await ended(kept, "t", "a", 40)
    growing = begin(kept, "t", "b")
    await send(growing, 20)
    assert names(kept, "t") == {"a", "b"}
    await send(growing, 20)
    assert names(kept, "t") == {"b"}


async def test_two_that_grow_together_are_bounded(kept: RecordedResponses) -> None:
    one, two = begin(kept, "t", "a"), begin(kept, "t", "b")
    await send(one, 40)
    with pytest.raises(Overloaded, match="leave the header out"):
        await send(two, 40)
    await send(two, 40, more=False)
    kept.end(two, None)
    await send(one, 1)
    assert names(kept, "t") == {"a"}


async def test_one_answer_is_bounded(kept: RecordedResponses) -> None:
    large = begin(kept, "t", "a")
    with pytest.raises(EngineFailed, match="Leave the header out"):
        await send(large, 51)


async def test_what_failed_is_forgotten_and_what_is_old_too(kept: RecordedResponses, clock: ManualClock) -> None:
    failed = begin(kept, "t", "a")
    kept.end(failed, InternalError())
    await ended(kept, "t", "b", 50)
    assert names(kept, "t") == {"b"}
    await clock.advance(KEPT_S + 1)
    assert not names(kept, "t")
    await send(begin(kept, "t", "c"), 50)


async def test_nothing_is_left_by_tenants_that_are_gone(kept: RecordedResponses, clock: ManualClock) -> None:
    for number in range(20):
        kept.make_room((f"asked-{number}", "a"))
        await ended(kept, f"tenant-{number}", "a", 1)
    await clock.advance(KEPT_S + 1)
    kept.get(("t", "a"))
    assert (kept._total, kept._by_tenant, kept._by_key, kept._ended) == (Amount(), {}, {}, {})


async def test_an_event_is_found_by_its_id(kept: RecordedResponses) -> None:
    recording = begin(kept, "t", "a")
    await recording.send({"type": "http.response.start", "status": 200, "headers": []})
    first, second = [Event(None, b"role"), Event(b"1", b"one")], [Event(b"", b"two"), Event(b"3", b"3")]
    for events in (first, second):
        await recording.send({"type": "http.response.body", EVENTS: events, "more_body": True})
    await send(recording, 5, more=False)
    assert recording.size == sum(len(event.encode()) for event in [*first, *second]) + 5
    assert recording.find("") == BEGINNING
    assert [recording.find(event_id) for event_id in ("1", "3", "2")] == [
        ReplayPosition(message=1, event=2),
        ReplayPosition(message=2, event=2),
        None,
    ]


async def test_a_client_that_begins_again_is_not_given_the_rest(kept: RecordedResponses) -> None:
    """Of a recording that began after an event: an empty event id names no place in it."""
    recording = RecordedResponse(IdempotentRequest(("t", "a"), b"digest", "after"), cast(Any, Answered()), kept)
    kept.add(recording)
    await recording.send({"type": "http.response.body", EVENTS: [Event(b"", b"one")], "more_body": True})
    assert recording.find("after") == BEGINNING
    assert recording.find("") is None
