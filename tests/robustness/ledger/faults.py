"""What happens to the ledger: its database frozen, stopped, or away while its gateway is killed too."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.robustness.arena import Arena
from tests.support.postgres import Postgres
from tests.support.wait import wait_until

READY_S = 60.0


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """strike: for so many seconds. cuts: answers may break off. spool_bytes: of the gateway; None: its default."""

    name: str
    strike: Callable[[Arena, Postgres, float], Awaitable[None]]
    cuts: bool = False
    spool_bytes: int | None = None


async def _freeze(_: Arena, database: Postgres, hold_s: float) -> None:
    database.freeze()
    await asyncio.sleep(hold_s)
    database.thaw()


async def _stop(_: Arena, database: Postgres, hold_s: float) -> None:
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(database.start)


async def _kill_gateway_meanwhile(arena: Arena, database: Postgres, hold_s: float) -> None:
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(hold_s / 2)
    await restart_gateway(arena)
    await asyncio.sleep(hold_s / 2)
    await asyncio.to_thread(database.start)


async def restart_gateway(arena: Arena) -> None:
    """With kill -9."""
    await asyncio.to_thread(arena.crew.kill, "gateway")
    arena.crew.start("gateway")

    async def ready() -> bool:
        return bool(await arena.view.ready(["gateway"]))

    await wait_until(ready, description="the gateway is ready again", timeout=READY_S)


FROZEN = LedgerFault("database frozen", _freeze)
STOPPED = LedgerFault("database stopped", _stop)
KILLED = LedgerFault("gateway killed, its spool full", _kill_gateway_meanwhile, cuts=True, spool_bytes=1024 * 1024)
