"""A time limit for work of an engine that may ignore its cancellation."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from services.worker.engine.contract import EngineDead

_Result = TypeVar("_Result")


async def bounded(work: Coroutine[Any, Any, _Result], what: str, limit_s: float) -> _Result:
    """Runs `work`, and stops waiting for it after `limit_s` seconds, even when an engine process hangs.

    Args:
        work: What the engine should do.
        what: The same in words, for the error: "the engine did not <what> within 300 s".
        limit_s: Seconds.

    Raises:
        EngineDead: The work did not end in time, or the engine cancelled it.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
    finally:
        task.cancel()
    if not done:
        raise EngineDead(f"the engine did not {what} within {limit_s:g} s")
    if task.cancelled():
        raise EngineDead(f"the engine did not {what}: it cancelled the work")
    return task.result()
