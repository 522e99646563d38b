"""Faults of the ledger: its database is frozen, or stopped, or stopped while the gateway is killed too."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.support.postgres import Postgres
from tests.support.wait import wait_until

READY_S = 60.0


@dataclass(frozen=True, slots=True)
class LedgerFault:
    """One fault.

    Attributes:
        inject: Breaks something for a number of seconds, and repairs it.
        cuts: Responses may break off.
        spool_bytes: Limit of the gateway's write-ahead log; None for its default.
    """

    name: str
    inject: Callable[[ClusterUnderTest, Postgres, float], Awaitable[None]]
    cuts: bool = False
    spool_bytes: int | None = None


async def _freeze(_: ClusterUnderTest, database: Postgres, hold_s: float) -> None:
    database.freeze()
    await asyncio.sleep(hold_s)
    database.thaw()


async def _stop(_: ClusterUnderTest, database: Postgres, hold_s: float) -> None:
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(hold_s)
    await asyncio.to_thread(database.start)


async def _stop_and_kill_gateway(cluster: ClusterUnderTest, database: Postgres, hold_s: float) -> None:
    await asyncio.to_thread(database.stop)
    await asyncio.sleep(hold_s / 2)
    await restart_gateway(cluster)
    await asyncio.sleep(hold_s / 2)
    await asyncio.to_thread(database.start)


async def restart_gateway(cluster: ClusterUnderTest) -> None:
    """`kill -9`, and a new start. Returns when the gateway is ready."""
    await asyncio.to_thread(cluster.injector.kill, "gateway")
    cluster.injector.start("gateway")

    async def ready() -> bool:
        return bool(await cluster.view.ready(["gateway"]))

    await wait_until(ready, description="the gateway is ready again", timeout=READY_S)


FROZEN = LedgerFault("database frozen", _freeze)
STOPPED = LedgerFault("database stopped", _stop)
KILLED = LedgerFault(
    "gateway killed, its write-ahead log full", _stop_and_kill_gateway, cuts=True, spool_bytes=1024 * 1024
)
