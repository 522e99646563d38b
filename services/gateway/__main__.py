"""python -m services.gateway: serves clients, with settings from the environment."""

import asyncio

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.shared import garbage, process


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serves until `stop` is set."""
    app = GatewayApp(settings)
    await app.start()
    garbage.spare()
    await stop.wait()
    await app.stop()


def main() -> None:
    """Runs a gateway until SIGTERM or SIGINT."""
    process.run("gateway", GatewaySettings, serve)


if __name__ == "__main__":
    main()
