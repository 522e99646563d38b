"""python -m services.worker: a worker with one engine; its settings come from the environment.

With --follow: the process of a worker on another of its nodes.
"""

import argparse
import asyncio

from services.shared import garbage, process
from services.worker.app import WorkerApp
from services.worker.follower import FollowerApp
from services.worker.settings import FollowerSettings, WorkerSettings


def main() -> None:
    """Runs one worker process, or a follower, with settings from the environment."""
    parser = argparse.ArgumentParser(prog="python -m services.worker")
    parser.add_argument("--follow", action="store_true", help="be a follower: another node of a worker")
    if parser.parse_args().follow:
        process.run("follower", FollowerSettings, follow)
    else:
        process.run("worker", WorkerSettings, serve)


async def serve(settings: WorkerSettings, told: asyncio.Event) -> None:
    """Runs the worker until `told` is set or the worker ends by itself. A worker that failed exits with status 1."""
    app = WorkerApp(settings, on_loaded=garbage.spare)
    await app.start()
    await _first(told, app.ended)
    await app.stop()
    if app.failure:
        raise SystemExit(1)


async def follow(settings: FollowerSettings, told: asyncio.Event) -> None:
    """Runs the follower until `told` is set or its worker ends. Without being told it exits with status 1.

    Raises:
        WrongSettings: Rank 0 says that the follower does not fit.
    """
    app = FollowerApp(settings)
    await app.start()
    await _first(told, app.ended)
    await app.stop()
    if app.wrong:
        raise app.wrong
    if not told.is_set():
        raise SystemExit(1)


async def _first(*events: asyncio.Event) -> None:
    """Waits until one of them is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


if __name__ == "__main__":
    main()
