"""Work that a process does until it is told to stop."""

import asyncio

import pytest

from services.shared.lifecycle import unless


async def test_work_that_waits_for_ever_ends_when_told_to_stop() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().call_soon(stop.set)
    async with asyncio.timeout(20):
        await unless(stop, swallow_one_cancellation())


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(OSError, match="taken"):
        await unless(asyncio.Event(), fail())


async def test_work_that_ends_ends_the_waiting() -> None:
    async with asyncio.timeout(20):
        await unless(asyncio.Event(), asyncio.sleep(0))


async def swallow_one_cancellation() -> None:
    """As redis-py does while it connects."""
    for _ in range(2):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            continue


async def fail() -> None:
    raise OSError("taken")
