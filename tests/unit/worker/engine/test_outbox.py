"""Deltas go past a reader that waits, and never past one that has something to read."""

import asyncio

import pytest

from services.worker.engine.contract import Delta, Ended, Event, Started, Usage
from services.worker.engine.outbox import Outbox

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


async def test_a_waiting_readers_deltas_are_taken_without_waking_it(taker: Taker) -> None:
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


async def test_what_was_not_taken_holds_back_what_comes_after_it(taker: Taker) -> None:
    outbox = Outbox(taker)
    reading = await waiting(outbox)
    taker.willing = False
    outbox.put(delta(1))
    taker.willing = True
    outbox.put(delta(2))
    assert await reading == delta(1)
    outbox.put(delta(3))
    assert [await outbox.next(), await outbox.next()] == [delta(2), delta(3)]
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


async def test_an_error_is_raised_where_it_stands(taker: Taker) -> None:
    outbox = Outbox(taker)
    outbox.put(delta(1))
    outbox.put(RuntimeError("gone"))
    assert await outbox.next() == delta(1)
    with pytest.raises(RuntimeError, match="gone"):
        await outbox.next()
