"""Frames of one step are sent together; a full batch makes its writers wait."""

import asyncio

from services.worker.batch import Batch
from services.worker.engine.contract import Delta
from services.worker.wire import Name


async def put(batch: Batch, stream_id: int) -> None:
    await batch.add(Name(stream_id, 1), Delta(choice=0, token_ids=(7,)))


async def test_frames_of_one_pass_are_one_batch() -> None:
    batch = Batch()
    step = asyncio.Event()

    async def one(stream_id: int) -> None:
        await step.wait()
        await put(batch, stream_id)

    requests = [asyncio.create_task(one(stream_id)) for stream_id in range(20)]
    collected = batch.collected()
    asyncio.get_running_loop().call_soon(step.set)
    assert len((await anext(collected)).deltas) == 20
    await asyncio.gather(*requests)


async def test_after_close_what_was_there_still_goes_out() -> None:
    batch = Batch(max_frames=2)
    for stream_id in (1, 2):
        await put(batch, stream_id)
    batch.close()
    assert [len(message.deltas) async for message in batch.collected()] == [2]


async def test_an_idle_batch_ends_when_closed() -> None:
    batch = Batch()
    reading = asyncio.create_task(anext(batch.collected(), None))
    await asyncio.sleep(0)
    batch.close()
    assert await reading is None


async def test_a_full_batch_holds_its_writers_back() -> None:
    batch = Batch(max_frames=1)
    await put(batch, 1)
    writing = asyncio.create_task(put(batch, 2))
    await asyncio.sleep(0)
    assert not writing.done()
    collected = batch.collected()
    seen = 0
    while seen < 2:
        seen += len((await anext(collected)).deltas)
    await writing
