"""The same work for many things, a few at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")


async def each(names: Iterable[str], work: Callable[[str], Awaitable[Result]], at_once: int) -> dict[str, Result]:
    """What `work` returns for each name. The first error stops all the rest, and is raised."""
    turns = asyncio.Semaphore(at_once)
    found: dict[str, Result] = {}

    async def run(name: str) -> None:
        async with turns:
            found[name] = await work(name)

    try:
        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(run(name))
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return found
