"""Lesson 10: the ledger has one row for each request.

When a request ends, however it ends, the gateway writes one row: whose it was, which model answered, and how many
tokens it used (services/gateway/ledger). Rows go first to a write-ahead log on disk, so none is lost while the database
is away. `tidegate usage` adds them up.
"""

import asyncio
import json

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.keys import new_key
from tests.support.cluster import RunningCluster, tidegate
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

TENANT = "lesson-10"
REQUESTS = 7


async def test_the_ledger_has_one_row_for_each_request(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    client = openai.with_options(api_key=new_key(simulated, TENANT))

    answers = await asyncio.gather(
        *(client.completions.create(model="tide", prompt=f"Tide {n}?", max_tokens=5 + n) for n in range(REQUESTS))
    )

    async def usage() -> dict[str, int]:
        report = await asyncio.to_thread(tidegate, simulated.folder, "usage", "--tenant", TENANT, "--json")
        assert report.returncode == 0, report.stderr
        return dict(json.loads(report.stdout)["total"])

    async def all_written() -> bool:
        return (await usage())["requests"] >= REQUESTS

    await wait_until(all_written, description="all rows are written", timeout=60)
    total = await usage()
    assert total["requests"] == REQUESTS
    usages = [answer.usage for answer in answers if answer.usage]
    assert total["prompt_tokens"] == sum(usage.prompt_tokens for usage in usages)
    assert total["completion_tokens"] == sum(usage.completion_tokens for usage in usages)
