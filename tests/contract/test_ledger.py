"""The ledger in both databases: each request once, and sums that agree with the rows."""

import asyncio
from random import Random

from sqlalchemy import func, select

from services.gateway.database.engine import Database
from services.gateway.database.tables import ledger
from services.gateway.ledger.entry import Row
from services.gateway.ledger.store import LedgerStore, Span
from services.shared.clock import SystemClock

NOON = 1_790_000_000.0 - 1_790_000_000.0 % 86_400 + 43_200
TODAY, YESTERDAY = "2026-09-21", "2026-09-20"
ALL = ("tenant", "model", "version", "tier", "day")


def row(number: int, **changes: object) -> Row:
    facts: dict[str, object] = {
        "request_id": f"r{number}",
        "accepted": NOON,
        "tenant": "acme",
        "key_id": "k",
        "model": "m",
        "tier_asked": "auto",
        "tier": "default",
        "version": "v",
        "outcome": "completed",
        "prompt_tokens": 10,
        "cached_tokens": 4,
        "completion_tokens": 3,
        "ttft_ms": 20,
        **changes,
    }
    return Row(**facts)  # type: ignore[arg-type]


async def test_a_row_written_again_counts_once(database: Database) -> None:
    store = LedgerStore(database)
    rows = [row(number) for number in range(1200)]
    assert await store.add(rows) == 1200
    assert await store.add([*rows[100:], row(1200)]) == 1
    async with database.begin() as connection:
        assert await connection.scalar(select(func.count()).select_from(ledger)) == 1201
    (used,) = await store.usage(Span(TODAY, TODAY), ALL, 10)
    assert (used.requests, used.prompt_tokens, used.cached_tokens, used.completion_tokens) == (1201, 12010, 4804, 3603)


async def test_a_row_of_a_dead_process_does_not_replace_the_final_one(database: Database) -> None:
    store = LedgerStore(database)
    assert await store.add([row(1)]) == 1
    assert await store.add([row(1, outcome="lost"), row(2, outcome="lost", completion_tokens=0)]) == 1
    async with database.begin() as connection:
        rows = (await connection.execute(select(ledger.c.request_id, ledger.c.outcome).order_by("request_id"))).all()
    assert [tuple(one) for one in rows] == [("r1", "completed"), ("r2", "lost")]


async def test_gateways_write_the_same_sums_at_once(database: Database, database_url: str) -> None:
    others = [Database(database_url, clock=SystemClock(), random=Random(1)) for _ in range(3)]
    for other in others:
        await other.migrate()
    rows = [row(number, model=f"m{number % 7}", tier=("flex", "default")[number % 2]) for number in range(300)]
    mixed = [Random(seed).sample(rows, len(rows)) for seed in range(3)]
    added = await asyncio.gather(
        *(
            LedgerStore(other).add(some[at : at + 50])
            for other, some in zip(others, mixed, strict=True)
            for at in range(0, 300, 50)
        )
    )
    assert sum(added) == 300
    used = await LedgerStore(database).usage(Span(TODAY, TODAY), ("model",), 100)
    assert sum(line.requests for line in used) == 300
    for other in others:
        await other.close()


async def test_reports_by_days_and_tenant(database: Database) -> None:
    store = LedgerStore(database)
    await store.add([row(1), row(2, tenant="other"), row(3, accepted=NOON - 86_400), row(4, version="v2")])
    today = await store.usage(Span(TODAY, TODAY, "acme"), ("version",), 10)
    assert [(line.version, line.requests, line.tenant) for line in today] == [("v", 1, ""), ("v2", 1, "")]
    days = await store.usage(Span(YESTERDAY, TODAY), ("day", "tenant"), 10)
    assert [(line.day, line.tenant, line.requests) for line in days] == [
        (YESTERDAY, "acme", 1),
        (TODAY, "acme", 2),
        (TODAY, "other", 1),
    ]
    assert len(await store.usage(Span(YESTERDAY, TODAY), ("day", "tenant"), 2)) == 2
