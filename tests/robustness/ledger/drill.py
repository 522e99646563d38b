"""One run: requests as they come, while the ledger's database is away; then a look at every row."""

import asyncio
from itertools import count
from random import Random

import psycopg
from psycopg.rows import class_row

from tests.robustness.accounted import Accounted
from tests.robustness.ledger.faults import LedgerFault, restart_gateway
from tests.robustness.ledger.verdict import Row, Run, Sums
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question, chat
from tests.robustness.traffic import Traffic
from tests.support.wait import wait_until

CALM_S = 1.0
"""Before and after the fault."""
SETTLED_S = 60.0
SPOOLED = "tidegate_gateway_ledger_rows_spooled"
ROWS = "SELECT request_id, outcome, prompt_tokens, completion_tokens FROM ledger"
SUMS = "SELECT sum(requests)::bigint, sum(prompt_tokens)::bigint, sum(completion_tokens)::bigint FROM usage_by_day"


async def drill(there: Accounted, fault: LedgerFault, *, hold_s: float, per_second: float, seed: int) -> Run:
    """Every run begins with an empty ledger."""
    random, numbers = Random(seed), count()
    await _wait_for_rows_of_others(there)
    if fault.spool_bytes:
        there.arena.crew.members["gateway"].environment["TIDEGATE_LEDGER_SPOOL_BYTES"] = str(fault.spool_bytes)
        await restart_gateway(there.arena)
    with psycopg.connect(there.url) as connection:
        connection.execute("TRUNCATE ledger, usage_by_day")
    traffic = Traffic(there.arena.view.target, random)
    striking = asyncio.create_task(_strike(there, fault, hold_s))
    try:
        await traffic.when_due(lambda: _question(next(numbers), random), per_second, striking)
    finally:
        traffic.close()
    await striking
    heard = {sent.answer.id for sent in traffic.sent if sent.answer.id}
    await wait_until(lambda: _settled(there, heard), description=f"{len(heard)} rows are there", timeout=SETTLED_S)
    rows, sums = _read(there.url)
    return Run(traffic.sent, rows, sums, fault.cuts, await leftovers(there.arena.view))


async def _wait_for_rows_of_others(there: Accounted) -> None:
    """Rows are written in order: when the last one is there, all are."""
    traffic = Traffic(there.arena.view.target, Random())
    last = chat("Whose is the last row?", max_tokens=1)
    try:
        heard = {answer.id for answer in (await traffic.learn([last])).values()}
    finally:
        traffic.close()
    await wait_until(lambda: _settled(there, heard), description="rows of others are there", timeout=SETTLED_S)


async def _strike(there: Accounted, fault: LedgerFault, hold_s: float) -> None:
    await asyncio.sleep(CALM_S)
    await fault.strike(there.arena, there.database, hold_s)
    await asyncio.sleep(CALM_S)


def _question(number: int, random: Random) -> Question:
    streamed = {"stream": True, "stream_options": {"include_usage": True}} if number % 2 else {}
    text = f"Where does tide number {number} go?"
    return chat(text, max_tokens=random.randrange(1, 40), ignore_eos=True, **streamed)


async def _settled(there: Accounted, heard: set[str]) -> bool:
    """Every request has its row that a client heard of, none waits, and no journal of a dead gateway is left."""
    journals = list((there.arena.view.cluster.folder / ".tidegate/gateway/ledger").iterdir())
    waiting = await there.arena.view.metric("gateway", SPOOLED)
    return len(journals) == 1 and not waiting and heard <= {row.request_id for row in _read(there.url)[0]}


def _read(url: str) -> tuple[list[Row], Sums]:
    with psycopg.connect(url) as connection:
        rows = connection.cursor(row_factory=class_row(Row)).execute(ROWS).fetchall()
        [sums] = connection.execute(SUMS).fetchall()
    return rows, Sums(*(int(figure or 0) for figure in sums))
