"""python -m services.worker: a worker with one engine; its settings come from the environment."""

import asyncio

from services.shared import garbage, process
from services.worker.app import WorkerApp
from services.worker.settings import WorkerSettings


def main() -> None:
    """Runs one worker process with settings from the environment."""
    process.run("worker", WorkerSettings, serve)


async def serve(settings: WorkerSettings, told: asyncio.Event) -> None:
    """Runs the worker until `told` is set or the worker ends by itself. A worker that failed exits with status 1."""
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
