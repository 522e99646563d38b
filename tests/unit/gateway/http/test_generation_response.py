"""Deltas on their short way: from the worker's stream to a client that keeps up, past the request's task."""

import asyncio

import psutil
import pytest

from services.gateway.upstream.mailbox import MAX_DRAINED, Mailbox, WorkerLost
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


async def test_a_client_that_keeps_up_has_them_at_once_and_no_task_is_woken() -> None:
    mailbox, client = Mailbox(limit=10), Client()
    reading = await waiting(mailbox, client)
    mailbox.put_deltas(DELTAS[:1])
    mailbox.put_deltas(DELTAS[1:])
    assert client.taken == DELTAS
    await asyncio.sleep(0)
    assert not reading.done()
    mailbox.put(lost := WorkerLost())
    assert await reading == [lost]


async def test_nothing_overtakes_what_waits_for_the_task() -> None:
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


async def test_what_goes_wrong_with_one_client_ends_its_request_and_not_the_shared_stream() -> None:
    def fail(_: list[worker_pb2.Delta]) -> bool:
        raise ValueError("cannot be rendered")

    mailbox = Mailbox(limit=10)
    mailbox.deliver_to(fail)
    reading = asyncio.create_task(mailbox.drain())
    await asyncio.sleep(0)
    mailbox.put_deltas(DELTAS)
    with pytest.raises(ValueError, match="rendered"):
        await reading


async def test_whoever_was_cancelled_is_given_nothing() -> None:
    mailbox, client = Mailbox(limit=10), Client()
    reading = await waiting(mailbox, client)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    mailbox.put_deltas(DELTAS)
    assert client.taken == []
    assert await mailbox.drain() == DELTAS


async def test_what_a_slow_reader_leaves_unread_does_not_hold_the_messages_that_it_came_in() -> None:
    """A message carries the deltas of all requests of a step: one reader of many must not keep all of theirs."""
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
