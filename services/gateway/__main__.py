"""`python -m services.gateway`"""

import asyncio
import gc

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.shared import process

# Objects made, and not yet freed, before the collector looks for garbage among them: a request makes hundreds.
COLLECT_AFTER = 10_000


async def serve(settings: GatewaySettings, stop: asyncio.Event) -> None:
    app = GatewayApp(settings)
    await app.start()
    _spare_the_collector()
    await stop.wait()
    await app.stop()


def _spare_the_collector() -> None:
    """What is there after the start stays: to look through all of it again would stop every stream meanwhile."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


def main() -> None:
    process.run("gateway", GatewaySettings, serve)


if __name__ == "__main__":
    main()
