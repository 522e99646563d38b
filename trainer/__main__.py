"""python -m trainer: runs training jobs from the queue, its settings from the environment."""

import asyncio

from services.shared import process
from trainer.app import TrainerApp
from trainer.settings import TrainerSettings


def main() -> None:
    """Runs a trainer until SIGTERM or SIGINT."""
    process.run("trainer", TrainerSettings, serve)


async def serve(settings: TrainerSettings, told: asyncio.Event) -> None:
    """Serves until `told` is set."""
    app = TrainerApp(settings)
    await app.start()
    await told.wait()
    await app.stop()


if __name__ == "__main__":
    main()
