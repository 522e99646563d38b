"""Inbox and outbox: never wait when filled, bounded, in order."""

import asyncio

import pytest

from services.gateway.inbox import Inbox
from services.gateway.outbox import Outbox, OutboxFull
from services.shared.errors import ClientLeft, EngineFailed
from tidegate.worker.v1 import worker_pb2


async def test_inbox_is_drained_in_one_go_and_in_order() -> None:
    inbox = Inbox(limit=10)
    deltas = [worker_pb2.Delta(choice=n) for n in range(3)]
    for delta in deltas:
        inbox.put(delta)
    assert await inbox.drain() == deltas
    waiting = asyncio.create_task(inbox.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    inbox.put(deltas[0])
    assert await waiting == deltas[:1]


async def test_an_interruption_wins_and_lasts() -> None:
    inbox = Inbox(limit=10)
    inbox.put(worker_pb2.Delta())
    inbox.interrupt(ClientLeft("left"))
    inbox.clear()
    for _ in range(2):
        with pytest.raises(ClientLeft):
            await inbox.drain()


async def test_a_worker_that_ignores_its_credit_is_cut_off() -> None:
    inbox = Inbox(limit=2)
    for _ in range(3):
        inbox.put(worker_pb2.Delta())
    with pytest.raises(EngineFailed):
        await inbox.drain()


async def test_outbox_writes_in_order_and_says_when_it_overflows() -> None:
    outbox: Outbox[int] = Outbox(limit=2)
    written: list[int] = []

    async def write(frame: int) -> None:
        written.append(frame)

    pump = asyncio.create_task(outbox.pump(write))
    for frame in (1, 2):
        outbox.put(frame)
    await asyncio.sleep(0)
    assert written == [1, 2]
    assert outbox.empty
    pump.cancel()
    for frame in (3, 4, 5):
        outbox.put(frame)
    with pytest.raises(OutboxFull):
        await outbox.overflow()
