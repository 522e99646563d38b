"""Deltas on their short way: from the worker's stream to a client that keeps up, past the request's task."""

import asyncio

import pytest

from services.gateway.inbox import Inbox, WorkerLost
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


async def waiting(inbox: Inbox, client: Client) -> "asyncio.Task[object]":
    reading = asyncio.create_task(inbox.drain(client.take))
    await asyncio.sleep(0)
    return reading


async def test_a_client_that_keeps_up_has_them_at_once_and_no_task_is_woken() -> None:
    inbox, client = Inbox(limit=10), Client()
    reading = await waiting(inbox, client)
    inbox.put_deltas(DELTAS[:1])
    inbox.put_deltas(DELTAS[1:])
    assert client.taken == DELTAS
    await asyncio.sleep(0)
    assert not reading.done()
    inbox.put(lost := WorkerLost())
    assert await reading == [lost]


async def test_nothing_overtakes_what_waits_for_the_task() -> None:
    inbox, client = Inbox(limit=10), Client()
    reading = await waiting(inbox, client)
    client.keeps_up = False
    inbox.put_deltas(DELTAS[:1])
    client.keeps_up = True
    inbox.put_deltas(DELTAS[1:])
    assert await reading == DELTAS
    inbox.put_deltas(DELTAS[:1])
    assert await inbox.drain(client.take) == DELTAS[:1]
    assert client.taken == []


async def test_what_goes_wrong_with_one_client_ends_its_request_and_not_the_shared_stream() -> None:
    def fail(_: list[worker_pb2.Delta]) -> bool:
        raise ValueError("cannot be rendered")

    inbox = Inbox(limit=10)
    reading = asyncio.create_task(inbox.drain(fail))
    await asyncio.sleep(0)
    inbox.put_deltas(DELTAS)
    with pytest.raises(ValueError, match="rendered"):
        await reading


async def test_whoever_was_cancelled_is_given_nothing() -> None:
    inbox, client = Inbox(limit=10), Client()
    reading = await waiting(inbox, client)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    inbox.put_deltas(DELTAS)
    assert client.taken == []
    assert await inbox.drain() == DELTAS
