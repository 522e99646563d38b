"""Deltas bypass a waiting reader, but never a reader that has unread events."""

import asyncio

import pytest

from services.worker.engine.contract import Delta, Ended, Event, Started, ToolCallDelta, Usage
from services.worker.engine.outbox import MAX_JOINED, Outbox

CALL = ToolCallDelta(0, "call-1", "tide", "{}")
ENDED = Ended(Usage(1, 0, 1))


def delta(number: int) -> Delta:
    return Delta(0, token_ids=(number,))


class Taker:
    def __init__(self) -> None:
        self.willing = True
        self.taken: list[Delta] = []

    def __call__(self, offered: Delta) -> bool:
        if self.willing:
            self.taken.append(offered)
        return self.willing


@pytest.fixture
def taker() -> Taker:
    return Taker()


async def waiting(outbox: Outbox) -> asyncio.Task[Event]:
    reading = asyncio.create_task(outbox.next())
    await asyncio.sleep(0)
    return reading


async def test_a_delta_is_taken_without_waking_a_waiting_reader(taker: Taker) -> None:
    outbox = Outbox(taker)
    reading = await waiting(outbox)
    for number in range(3):
        outbox.put(delta(number))
        await asyncio.sleep(0)
    assert taker.taken == [delta(0), delta(1), delta(2)]
    assert not reading.done()
    outbox.put(ENDED)
    assert await reading == ENDED


async def test_only_deltas_are_offered(taker: Taker) -> None:
    outbox = Outbox(taker)
    reading = await waiting(outbox)
    outbox.put(Started(1, 0))
    assert await reading == Started(1, 0)
    assert not taker.taken


async def test_an_unread_delta_holds_back_later_ones(taker: Taker) -> None:
    outbox = Outbox(taker)
    reading = await waiting(outbox)
    taker.willing = False
    outbox.put(delta(1))
    taker.willing = True
    outbox.put(delta(2))
    assert await reading == Delta(0, token_ids=(1, 2))
    outbox.put(delta(3))
    assert await outbox.next() == delta(3)
    assert not taker.taken
    reading = await waiting(outbox)
    outbox.put(delta(4))
    assert taker.taken == [delta(4)]
    reading.cancel()


async def test_a_reader_that_left_is_offered_nothing(taker: Taker) -> None:
    outbox = Outbox(taker)
    reading = await waiting(outbox)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    outbox.put(delta(1))
    assert not taker.taken


async def test_an_error_is_raised_in_its_place(taker: Taker) -> None:
    outbox = Outbox(taker)
    outbox.put(delta(1))
    outbox.put(RuntimeError("gone"))
    assert await outbox.next() == delta(1)
    with pytest.raises(RuntimeError, match="gone"):
        await outbox.next()


async def drained(outbox: Outbox) -> list[Event]:
    outbox.put(ENDED)
    events = []
    while (event := await outbox.next()) != ENDED:
        events.append(event)
    return events


async def test_unread_deltas_are_joined_without_loss(taker: Taker) -> None:
    outbox = Outbox(taker)
    for number in range(3 * MAX_JOINED):
        outbox.put(Delta(0, f"t{number} ", (number,), text_from=3 * number, text_end=3 * number + 3))
    outbox.put(Delta(0, finish_reason="stop", stop_reason="end", text_from=3 * 48, text_end=3 * 48))
    events = [event for event in await drained(outbox) if isinstance(event, Delta)]
    assert len(events) == 3
    assert all(len(event.token_ids) == MAX_JOINED for event in events)
    assert "".join(event.text for event in events) == "".join(f"t{number} " for number in range(3 * MAX_JOINED))
    assert [(event.text_from, event.text_end) for event in events] == [(0, 48), (48, 96), (96, 144)]
    assert (events[-1].finish_reason, events[-1].stop_reason) == ("stop", "end")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Delta(0, "a"), Delta(1, "b")),
        (Delta(0, "a"), Delta(0, reasoning="b")),
        (Delta(0, "a"), Delta(0, tool_calls=(CALL,))),
        (Delta(0, tool_calls=(CALL,)), Delta(0, "b")),
        (Delta(0, finish_reason="stop"), Delta(0, "b")),
    ],
    ids=["choices", "text before reasoning", "a call", "after a call", "after the end"],
)
async def test_some_deltas_are_never_joined(taker: Taker, first: Delta, second: Delta) -> None:
    outbox = Outbox(taker)
    outbox.put(first)
    outbox.put(second)
    assert await drained(outbox) == [first, second]
