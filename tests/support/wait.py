"""Waiting until a condition holds. Tests use this instead of sleeping."""

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
    """Returns once the predicate is true.

    Args:
        predicate: A function, or a coroutine function.
        description: The expected state, for the error message.
        timeout: Seconds after which the test fails.
        every: Seconds between two calls of the predicate.

    Raises:
        AssertionError: The predicate was not true in time.
    """
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
