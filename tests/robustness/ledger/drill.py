"""One drill: a steady workload while the ledger's database is away, and then all rows of the ledger."""

import asyncio
from itertools import count
from random import Random

import psycopg
from psycopg.rows import class_row

from tests.robustness.cluster_with_database import ClusterWithDatabase
from tests.robustness.leak_checker import leaks
from tests.robustness.ledger.faults import LedgerFault, restart_gateway
from tests.robustness.ledger.invariant_checker import Row, Run, Sums
from tests.robustness.request import Request, chat
from tests.robustness.workload import Workload
from tests.support.wait import wait_until

CALM_S = 1.0
"""Seconds without a fault, before and after it."""
SETTLED_S = 60.0
SPOOLED = "tidegate_gateway_ledger_rows_spooled"
ROWS = "SELECT request_id, outcome, prompt_tokens, completion_tokens FROM ledger"
SUMS = "SELECT sum(requests)::bigint, sum(prompt_tokens)::bigint, sum(completion_tokens)::bigint FROM usage_by_day"


async def drill(
    cluster: ClusterWithDatabase, fault: LedgerFault, *, hold_s: float, per_second: float, seed: int
) -> Run:
    """Injects one fault for `hold_s` seconds. The ledger is emptied first."""
    random, numbers = Random(seed), count()
    await _wait_for_earlier_rows(cluster)
    if fault.spool_bytes:
        gateway = cluster.cluster.injector.processes["gateway"]
        gateway.environment["TIDEGATE_LEDGER_SPOOL_BYTES"] = str(fault.spool_bytes)
        await restart_gateway(cluster.cluster)
    with psycopg.connect(cluster.url) as connection:
        connection.execute("TRUNCATE ledger, usage_by_day")
    workload = Workload(cluster.cluster.view.target, random)
    injecting = asyncio.create_task(_inject(cluster, fault, hold_s))
    try:
        await workload.open_loop(lambda: _request(next(numbers), random), per_second, injecting)
    finally:
        workload.close()
    await injecting
    request_ids = {log.response.id for log in workload.log if log.response.id}
    await wait_until(
        lambda: _settled(cluster, request_ids), description=f"{len(request_ids)} rows are written", timeout=SETTLED_S
    )
    rows, sums = _read(cluster.url)
    return Run(workload.log, rows, sums, fault.cuts, await leaks(cluster.cluster.view))


async def _wait_for_earlier_rows(cluster: ClusterWithDatabase) -> None:
    """Waits until the rows of earlier drills are written. Rows are written in order, so the last one is enough."""
    workload = Workload(cluster.cluster.view.target, Random())
    last = chat("Which is the last row?", max_tokens=1)
    try:
        request_ids = {response.id for response in (await workload.expected_responses([last])).values()}
    finally:
        workload.close()
    await wait_until(lambda: _settled(cluster, request_ids), description="earlier rows are written", timeout=SETTLED_S)


async def _inject(cluster: ClusterWithDatabase, fault: LedgerFault, hold_s: float) -> None:
    await asyncio.sleep(CALM_S)
    await fault.inject(cluster.cluster, cluster.database, hold_s)
    await asyncio.sleep(CALM_S)


def _request(number: int, random: Random) -> Request:
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
    text = f"Where does tide number {number} go?"
    return chat(text, max_tokens=random.randrange(1, 40), ignore_eos=True, **streamed)


async def _settled(cluster: ClusterWithDatabase, request_ids: set[str]) -> bool:
    """Whether all these requests have a row, no row waits, and no write-ahead log of a dead gateway is left."""
    logs = list((cluster.cluster.view.cluster.folder / ".tidegate/gateway/ledger").iterdir())
    waiting = await cluster.cluster.view.metric("gateway", SPOOLED)
    return len(logs) == 1 and not waiting and request_ids <= {row.request_id for row in _read(cluster.url)[0]}


def _read(url: str) -> tuple[list[Row], Sums]:
    with psycopg.connect(url) as connection:
        rows = connection.cursor(row_factory=class_row(Row)).execute(ROWS).fetchall()
        [sums] = connection.execute(SUMS).fetchall()
    return rows, Sums(*(int(figure or 0) for figure in sums))
