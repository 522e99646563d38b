"""Work of an engine that takes too long."""

import asyncio
import contextlib

import pytest

from services.worker.engine.bounded import bounded
from services.worker.engine.contract import EngineDead


async def test_the_result_of_work_that_ends_in_time() -> None:
    async def three() -> int:
        return 3

    assert await bounded(three(), "count", 5) == 3


async def test_work_that_ignores_its_cancellation_is_not_waited_for() -> None:
    released = asyncio.Event()

    async def stubborn() -> None:
        while not released.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await released.wait()

    with pytest.raises(EngineDead, match=r"the engine did not answer within 0\.05 s"):
        await bounded(stubborn(), "answer", 0.05)
    released.set()
    await asyncio.sleep(0)


async def test_work_that_was_cancelled_by_the_engine_is_told() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(EngineDead, match="it cancelled the work"):
        await bounded(cancelled(), "answer", 5)


async def test_what_the_work_raises_is_raised() -> None:
    async def failing() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await bounded(failing(), "answer", 5)
