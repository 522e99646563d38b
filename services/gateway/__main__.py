"""`python -m services.gateway`"""

import asyncio

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.shared import config, lifecycle, settings, telemetry


def main() -> None:
    try:
        told = settings.read(GatewaySettings)
        config.load(told.config)
    except settings.WrongSettings as wrong:
        settings.stop(wrong)
    telemetry.configure_logging("gateway", told.log_level)

    async def serve(stop: asyncio.Event) -> None:
        app = GatewayApp(told)
        await app.start()
        await stop.wait()
        await app.stop()

    lifecycle.run(serve)


if __name__ == "__main__":
    main()
