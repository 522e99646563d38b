"""python -m trainer: runs training jobs from the queue, its settings from the environment."""

import asyncio

from services.shared import lifecycle
from services.shared.settings import WrongSettings, read, stop
from services.shared.telemetry import configure_logging
from trainer.app import TrainerApp
from trainer.settings import TrainerSettings


def main() -> None:
    try:
        settings = read(TrainerSettings)
        configure_logging("trainer", settings.log_level)
        lifecycle.run(lambda told: serve(settings, told))
    except WrongSettings as error:
        stop(error)


async def serve(settings: TrainerSettings, told: asyncio.Event) -> None:
    app = TrainerApp(settings)
    await app.start()
    await told.wait()
    await app.stop()


if __name__ == "__main__":
    main()
