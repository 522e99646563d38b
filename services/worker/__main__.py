"""python -m services.worker: one engine, its settings from the environment."""

import asyncio

from services.shared import garbage, process
from services.worker.app import WorkerApp
from services.worker.settings import WorkerSettings


def main() -> None:
    process.run("worker", WorkerSettings, serve)


async def serve(settings: WorkerSettings, told: asyncio.Event) -> None:
    """Runs until told to stop or until the worker has ended by itself; a failed one ends the process with status 1."""
    app = WorkerApp(settings, on_loaded=garbage.spare)
    await app.start()
    ends = [asyncio.ensure_future(event.wait()) for event in (told, app.ended)]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    for end in ends:
        end.cancel()
    await app.stop()
    if app.failure:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
