"""The mailbox: never waits when filled, bounded, in order; and a client that keeps up gets deltas past its task."""

import asyncio

import psutil
import pytest

from services.gateway.upstream.mailbox import MAX_DRAINED, Mailbox, WorkerLost
from services.shared.errors import ClientLeft, EngineFailed
from tidegate.worker.v1 import worker_pb2

DELTAS = [worker_pb2.Delta(text=text) for text in "abc"]


class Client:
    def __init__(self) -> None:
        self.keeps_up = True
        self.taken: list[worker_pb2.Delta] = []

    def take(self, deltas: list[worker_pb2.Delta]) -> bool:
        if self.keeps_up:
            self.taken += deltas
        return self.keeps_up


async def waiting(mailbox: Mailbox, client: Client) -> "asyncio.Task[object]":
    mailbox.deliver_to(client.take)
    reading = asyncio.create_task(mailbox.drain())
    await asyncio.sleep(0)
    return reading


async def test_a_mailbox_is_drained_in_one_go_and_in_order() -> None:
    mailbox = Mailbox(limit=10)
    deltas = [worker_pb2.Delta(choice=n) for n in range(3)]
    for delta in deltas:
        mailbox.put(delta)
    assert await mailbox.drain() == deltas
    waiting = asyncio.create_task(mailbox.drain())
    await asyncio.sleep(0)
    assert not waiting.done()
    mailbox.put(deltas[0])
    assert await waiting == deltas[:1]


async def test_an_interruption_wins_and_lasts() -> None:
    mailbox = Mailbox(limit=10)
    mailbox.put(worker_pb2.Delta())
    mailbox.interrupt(ClientLeft("left"))
    mailbox.clear()
    for _ in range(2):
        with pytest.raises(ClientLeft):
            await mailbox.drain()


async def test_a_worker_that_ignores_its_credit_is_cut_off() -> None:
    mailbox = Mailbox(limit=2)
    for _ in range(3):
        mailbox.put(worker_pb2.Delta())
    with pytest.raises(EngineFailed):
        await mailbox.drain()


async def test_a_client_that_keeps_up_gets_deltas_without_a_task_being_woken() -> None:
    mailbox, client = Mailbox(limit=10), Client()
    reading = await waiting(mailbox, client)
    mailbox.put_deltas(DELTAS[:1])
    mailbox.put_deltas(DELTAS[1:])
    assert client.taken == DELTAS
    await asyncio.sleep(0)
    assert not reading.done()
    mailbox.put(lost := WorkerLost())
    assert await reading == [lost]


async def test_no_delta_overtakes_an_unread_item() -> None:
    mailbox, client = Mailbox(limit=10), Client()
    reading = await waiting(mailbox, client)
    client.keeps_up = False
    mailbox.put_deltas(DELTAS[:1])
    client.keeps_up = True
    mailbox.put_deltas(DELTAS[1:])
    assert await reading == DELTAS
    mailbox.put_deltas(DELTAS[:1])
    assert await mailbox.drain() == DELTAS[:1]
    assert client.taken == []


async def test_an_error_in_one_sink_ends_its_request_and_not_the_shared_stream() -> None:
    def fail(_: list[worker_pb2.Delta]) -> bool:
        raise ValueError("cannot be rendered")

    mailbox = Mailbox(limit=10)
    mailbox.deliver_to(fail)
    reading = asyncio.create_task(mailbox.drain())
    await asyncio.sleep(0)
    mailbox.put_deltas(DELTAS)
    with pytest.raises(ValueError, match="rendered"):
        await reading


async def test_a_cancelled_reader_gets_nothing() -> None:
    mailbox, client = Mailbox(limit=10), Client()
    reading = await waiting(mailbox, client)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    mailbox.put_deltas(DELTAS)
    assert client.taken == []
    assert await mailbox.drain() == DELTAS


async def test_unread_deltas_do_not_keep_the_memory_of_their_messages() -> None:
    """A message carries the deltas of all requests of an engine step. One slow reader must not keep all of them."""
    unread, others = 256, 500
    step = worker_pb2.ServeResponse(deltas=[worker_pb2.Delta(stream_id=n, text=" tide") for n in range(others)])
    message = step.SerializeToString()
    mailbox = Mailbox(limit=unread)
    before = psutil.Process().memory_info().rss
    for _ in range(unread):
        mailbox.put_deltas([worker_pb2.ServeResponse.FromString(message).deltas[0]])
    assert psutil.Process().memory_info().rss - before < unread * len(message)
    deltas = [item for _ in range(unread // MAX_DRAINED) for item in await mailbox.drain()]
    assert deltas == list(step.deltas[:1]) * unread
