"""Lesson 4: a tenant that sends too much delays only itself.

Within a class, tenants take turns (fair queueing, services/router/lua). A tenant with twenty waiting requests gets one
slot, then the other tenant gets one, and so on. The quiet tenant's single request waits for one turn, not for twenty.
"""

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.keys import new_key
from tests.fundamentals.observer import Observer
from tests.support.cluster import RunningCluster

pytestmark = pytest.mark.cluster


@pytest.fixture
def keys(simulated: RunningCluster) -> dict[str, str]:
    return {tenant: new_key(simulated, tenant) for tenant in ("noisy", "quiet")}


async def test_a_quiet_tenant_waits_one_turn_beside_a_noisy_one(
    keys: dict[str, str], openai: AsyncOpenAI, observer: Observer, busy_slots: list["asyncio.Task[Any]"]
) -> None:
    served: list[str] = []

    async def ask(tenant: str) -> None:
        client = openai.with_options(api_key=keys[tenant])
        await client.completions.create(model="tide", prompt="When is high water?", max_tokens=1)
        served.append(tenant)

    waiting = [asyncio.create_task(ask("noisy")) for _ in range(20)]
    await observer.wait_until_queued(20)
    waiting.append(asyncio.create_task(ask("quiet")))
    await observer.wait_until_queued(21)

    busy_slots[0].cancel()
    await asyncio.gather(*waiting)
    assert served.index("quiet") <= 1
