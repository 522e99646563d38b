"""How every process runs: one event loop, SIGTERM and SIGINT stop it, and every failed task is logged."""

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import uvloop

log = logging.getLogger(__name__)

T = TypeVar("T")

CANCELLATIONS = 10
CANCELLATION_S = 1.0


def run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Runs `main(stop)` until it returns. SIGTERM and SIGINT set `stop`."""
    uvloop.run(_with_signals(main))


async def _with_signals(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await main(stop)


async def unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Runs `work` until it ends or `stop` is set; then it is cancelled. Raises what `work` raises."""
    task, told = asyncio.create_task(work), asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, told}, return_when=asyncio.FIRST_COMPLETED)
        await cancel({task})
    finally:
        told.cancel()
    if task.done() and not task.cancelled():
        task.result()


async def cancel(tasks: set[asyncio.Task[None]]) -> None:
    """Cancels the tasks until all have ended.

    A library may swallow a cancellation, as redis-py does while it connects, so tasks are cancelled several times.
    """
    for _ in range(CANCELLATIONS):
        left = {task for task in tasks if not task.done()}
        if not left:
            return
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=CANCELLATION_S)
    log.error("these tasks do not end: %s", [task.get_name() for task in tasks])


async def unbroken(work: Coroutine[Any, Any, T]) -> T:
    """Runs `work` to its end even if the caller is cancelled. The cancellation is raised afterwards."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled:
        raise cancelled
    return task.result()


class Tasks:
    """Background tasks of one owner. Their failures are logged; `stop` cancels all of them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Starts a task. `name` appears in the log when it fails."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.error("task %s failed", task.get_name(), exc_info=error)

    async def stop(self) -> None:
        """Cancels all tasks and waits until they have ended."""
        await cancel(self._tasks)
