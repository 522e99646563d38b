"""The outbox: never waits when filled, bounded, in order, many frames to a message."""

import asyncio
from collections.abc import Sequence

import pytest

from services.gateway.upstream.bidirectional import MAX_TOGETHER, MAX_TOGETHER_BYTES, Outbox, OutboxFull
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2


class FakeStream:
    """Takes messages while `open` is set."""

    def __init__(self) -> None:
        self.messages: list[list[bytes]] = []
        self.open = asyncio.Event()

    async def write(self, frames: Sequence[worker_pb2.ChatPrompt]) -> None:
        await self.open.wait()
        self.messages.append([frame.tools_json for frame in frames])


def frame(content: bytes) -> worker_pb2.ChatPrompt:
    return worker_pb2.ChatPrompt(tools_json=content)


async def test_frames_put_while_a_message_is_written_share_the_next_message() -> None:
    sent = FakeStream()
    outbox: Outbox[worker_pb2.ChatPrompt] = Outbox(limit=4)
    pump = asyncio.create_task(outbox.pump(sent.write))
    outbox.put(frame(b"1"))
    await asyncio.sleep(0)
    for content in (b"2", b"3"):
        outbox.put(frame(content))
    assert not outbox.empty
    sent.open.set()
    await wait_until(lambda: outbox.empty, description="all is sent")
    assert sent.messages == [[b"1"], [b"2", b"3"]]
    pump.cancel()


async def test_an_outbox_says_when_it_overflows() -> None:
    outbox: Outbox[worker_pb2.ChatPrompt] = Outbox(limit=2)
    for content in (b"1", b"2", b"3"):
        outbox.put(frame(content))
    with pytest.raises(OutboxFull):
        await outbox.overflow()


async def test_a_message_never_grows_beyond_what_a_peer_takes() -> None:
    sent = FakeStream()
    large, small = bytes(MAX_TOGETHER_BYTES // 2), b"s"
    larger_than_any = bytes(MAX_TOGETHER_BYTES + 1)
    outbox: Outbox[worker_pb2.ChatPrompt] = Outbox(limit=1000)
    for content in (large, large, larger_than_any, *[small] * (MAX_TOGETHER + 1)):
        outbox.put(frame(content))
    sent.open.set()
    pump = asyncio.create_task(outbox.pump(sent.write))
    await wait_until(lambda: outbox.empty, description="all is sent")
    assert sent.messages == [[large], [large], [larger_than_any], [small] * MAX_TOGETHER, [small]]
    pump.cancel()
