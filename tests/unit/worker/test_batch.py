"""Frames that come together go together; a full batch makes its writers wait."""

import asyncio

from services.worker.batch import Batch
from tidegate.worker.v1 import worker_pb2 as pb


def delta(stream_id: int) -> pb.Delta:
    return pb.Delta(stream_id=stream_id)


async def test_frames_of_one_pass_are_one_batch() -> None:
    batch = Batch()
    step = asyncio.Event()

    async def one(stream_id: int) -> None:
        await step.wait()
        await batch.put(delta(stream_id))

    requests = [asyncio.create_task(one(stream_id)) for stream_id in range(20)]
    collected = batch.collected()
    asyncio.get_running_loop().call_soon(step.set)
    assert len(await anext(collected)) == 20
    await asyncio.gather(*requests)


async def test_after_close_what_was_there_still_goes_out() -> None:
    batch = Batch(max_frames=2)
    for stream_id in (1, 2):
        await batch.put(delta(stream_id))
    batch.close()
    assert [len(frames) async for frames in batch.collected()] == [2]


async def test_an_idle_batch_ends_when_closed() -> None:
    batch = Batch()
    reading = asyncio.create_task(anext(batch.collected(), None))
    await asyncio.sleep(0)
    batch.close()
    assert await reading is None


async def test_a_full_batch_holds_its_writers_back() -> None:
    batch = Batch(max_frames=1)
    await batch.put(delta(1))
    writing = asyncio.create_task(batch.put(delta(2)))
    await asyncio.sleep(0)
    assert not writing.done()
    collected = batch.collected()
    seen = 0
    while seen < 2:
        seen += len(await anext(collected))
    await writing
