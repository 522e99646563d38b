"""Waiting for what a test expects, instead of sleeping and hoping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable


async def wait_until(
    predicate: Callable[[], object | Awaitable[object]],
    *,
    description: str,
    timeout: float = 10.0,
    every: float = 0.01,
) -> None:
    """Returns once `predicate()` is true; fails the test, naming `description`, after `timeout` seconds."""
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        result = predicate()
        if inspect.isawaitable(result):
            result = await result
        if result:
            return
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"waited {timeout} s in vain until {description}")
        await asyncio.sleep(every)
