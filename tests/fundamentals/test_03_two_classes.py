"""Lesson 3: when all slots are busy, `priority` goes before `default`.

A request names its class in `service_tier`. Requests that find no free slot wait in the queue of their class, in Redis.
One Lua script grants the next free slot, and it looks at the classes in order of rank (services/router/lua). So a late
`priority` request overtakes every `default` request that waits.
"""

import asyncio
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


async def test_priority_goes_before_default_when_all_slots_are_busy(
    openai: AsyncOpenAI, observer: Observer, busy_slots: list["asyncio.Task[Any]"]
) -> None:
    served: list[str] = []

    async def ask(tier: str) -> None:
        await openai.completions.create(
            model="tide", prompt="When is high water?", max_tokens=1, extra_body={"service_tier": tier}
        )
        served.append(tier)

    waiting = [asyncio.create_task(ask("default")) for _ in range(5)]
    await observer.wait_until_queued(5)
    waiting.append(asyncio.create_task(ask("priority")))
    await observer.wait_until_queued(6)

    busy_slots[0].cancel()  # one slot is free: from now on one request after another
    await asyncio.gather(*waiting)
    assert served == ["priority"] + ["default"] * 5
