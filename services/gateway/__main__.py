"""`python -m services.gateway`"""

import asyncio

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.shared import garbage, process


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    app = GatewayApp(settings)
    await app.start()
    garbage.spare()
    await stop.wait()
    await app.stop()


def main() -> None:
    process.run("gateway", GatewaySettings, serve)


if __name__ == "__main__":
    main()
