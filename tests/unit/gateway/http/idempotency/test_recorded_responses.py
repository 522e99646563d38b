"""What is recordings for Idempotency-Keys, and what has to go for it."""

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
def recordings(clock: ManualClock) -> RecordedResponses:
    return RecordedResponses(clock)


def begin(recordings: RecordedResponses, tenant: str, name: str) -> RecordedResponse:
    request = IdempotentRequest((tenant, name), b"digest", "")
    recordings.make_room(request.key)
    recording = RecordedResponse(request, cast(Any, Answered()), recordings)
    recordings.add(recording)
    return recording


async def ended(recordings: RecordedResponses, tenant: str, name: str, size: int) -> RecordedResponse:
    recording = begin(recordings, tenant, name)
    await send(recording, size)
    recordings.end(recording, None)
    return recording


async def send(recording: RecordedResponse, size: int, *, more: bool = True) -> None:
    await recording.send({"type": "http.response.body", "body": b"x" * size, "more_body": more})


def names(recordings: RecordedResponses, tenant: str) -> set[str]:
    return {name for name in "abcdef" if recordings.get((tenant, name))}


async def test_the_recording_that_ended_first_is_forgotten_first(recordings: RecordedResponses) -> None:
    running = begin(recordings, "t", "a")
    await ended(recordings, "t", "c", 1)
    await ended(recordings, "t", "b", 1)
    begin(recordings, "t", "d")
    assert names(recordings, "t") == {"a", "b", "d"}
    assert recordings.get(("t", "a")) == (running,)


async def test_a_tenant_makes_room_among_its_own_recordings(recordings: RecordedResponses) -> None:
    await ended(recordings, "other", "a", 1)
    for name in "abc":
        await ended(recordings, "t", name, 1)
    begin(recordings, "t", "d")
    assert (names(recordings, "other"), names(recordings, "t")) == ({"a"}, {"b", "c", "d"})


async def test_all_tenants_together_are_bounded(recordings: RecordedResponses) -> None:
    for tenant in ("s", "t"):
        await ended(recordings, tenant, "a", 1)
        await ended(recordings, tenant, "b", 1)
    begin(recordings, "u", "a")
    assert [names(recordings, tenant) for tenant in "stu"] == [{"b"}, {"a", "b"}, {"a"}]


async def test_a_growing_recording_takes_the_room_of_ended_ones(recordings: RecordedResponses) -> None:
    await ended(recordings, "t", "a", 40)
    growing = begin(recordings, "t", "b")
    await send(growing, 20)
    assert names(recordings, "t") == {"a", "b"}
    await send(growing, 20)
    assert names(recordings, "t") == {"b"}


async def test_two_growing_recordings_are_bounded_together(recordings: RecordedResponses) -> None:
    one, two = begin(recordings, "t", "a"), begin(recordings, "t", "b")
    await send(one, 40)
    with pytest.raises(Overloaded, match="leave the header out"):
        await send(two, 40)
    await send(two, 40, more=False)
    recordings.end(two, None)
    await send(one, 1)
    assert names(recordings, "t") == {"a"}


async def test_one_recording_is_bounded(recordings: RecordedResponses) -> None:
    large = begin(recordings, "t", "a")
    with pytest.raises(EngineFailed, match="Leave the header out"):
        await send(large, 51)


async def test_failed_and_old_recordings_are_forgotten(recordings: RecordedResponses, clock: ManualClock) -> None:
    failed = begin(recordings, "t", "a")
    recordings.end(failed, InternalError())
    await ended(recordings, "t", "b", 50)
    assert names(recordings, "t") == {"b"}
    await clock.advance(KEPT_S + 1)
    assert not names(recordings, "t")
    await send(begin(recordings, "t", "c"), 50)


async def test_no_memory_is_left_for_tenants_that_are_gone(recordings: RecordedResponses, clock: ManualClock) -> None:
    for number in range(20):
        recordings.make_room((f"asked-{number}", "a"))
        await ended(recordings, f"tenant-{number}", "a", 1)
    await clock.advance(KEPT_S + 1)
    recordings.get(("t", "a"))
    assert (recordings._total, recordings._by_tenant, recordings._by_key, recordings._ended) == (Amount(), {}, {}, {})


async def test_an_event_is_found_by_its_id(recordings: RecordedResponses) -> None:
    recording = begin(recordings, "t", "a")
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


async def test_a_client_that_begins_again_does_not_get_the_rest_of_a_resumed_stream(
    recordings: RecordedResponses,
) -> None:
    """Of a recording that began after an event: an empty event id names no place in it."""
    recording = RecordedResponse(IdempotentRequest(("t", "a"), b"digest", "after"), cast(Any, Answered()), recordings)
    recordings.add(recording)
    await recording.send({"type": "http.response.body", EVENTS: [Event(b"", b"one")], "more_body": True})
    assert recording.find("after") == BEGINNING
    assert recording.find("") is None
