"""Waiting until a condition holds. Tests use this instead of sleeping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable

_SLOWEST_S = 0.05
_SHARE = 0.1
"""A predicate that awaits asks other processes, which costs them and this one. After a while it is asked less often:
the pause is this share of the time since the beginning, up to the bound above."""


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
        every: Seconds between two calls of the predicate; at first, if it is a coroutine function.

    Raises:
        AssertionError: The predicate was not true in time.
    """
    loop = asyncio.get_running_loop()
    began, pause = loop.time(), every
    while True:
        result = predicate()
        if inspect.isawaitable(result):
            pause = max(every, min(_SLOWEST_S, (loop.time() - began) * _SHARE))
            result = await result
        if result:
            return
        if loop.time() > began + timeout:
            raise AssertionError(f"waited {timeout} s in vain until {description}")
        await asyncio.sleep(pause)
