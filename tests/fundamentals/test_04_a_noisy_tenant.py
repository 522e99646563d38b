"""Lesson 4: a tenant that sends too much delays only itself.

Within a class, tenants take turns by the tokens that they ask for (fair queueing, services/router/lua). A tenant may
run a burst ahead of its share: 8,192 tokens by default, which is four of the requests below. After that its requests
wait for their turn, and a request of another tenant goes before them, although it came last.
"""

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.keys import new_key
from tests.fundamentals.observer import Observer
from tests.support.cluster import RunningCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

BURST = 4


@pytest.fixture
def keys(simulated: RunningCluster) -> dict[str, str]:
    return {tenant: new_key(simulated, tenant) for tenant in ("noisy", "quiet")}


async def test_a_quiet_tenant_does_not_wait_for_all_requests_of_a_noisy_one(
    keys: dict[str, str], openai: AsyncOpenAI, observer: Observer, busy_slots: list["asyncio.Task[Any]"]
) -> None:
    served: list[str] = []

    async def ask(tenant: str) -> None:
        # The queue counts the 2,000 tokens that are asked for. The answer ends after its first word.
        client = openai.with_options(api_key=keys[tenant])
        await client.completions.create(model="tide", prompt="When is high water?", max_tokens=2000, stop=" ")
        served.append(tenant)

    waiting = [asyncio.create_task(ask("noisy")) for _ in range(10)]
    await observer.wait_until_queued(10)
    waiting.append(asyncio.create_task(ask("quiet")))
    await observer.wait_until_queued(11)

    busy_slots[0].cancel()
    await asyncio.gather(*waiting)
    assert served.index("quiet") <= BURST + 1
