"""Lesson 6: a router dies, and no client sees it.

Queue, leases and capacity are in Redis, and a router replica keeps nothing of its own (services/router). When a replica
dies, the gateway connects to another one under the same session and submits again what it holds. A request that the
queue already knows is not queued twice. Tokens do not pass through routers, so open streams do not even notice.
"""

import asyncio

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@pytest.mark.parametrize("router", ["router-1", "router-2"])
async def test_no_request_fails_when_a_router_is_killed(openai: AsyncOpenAI, observer: Observer, router: str) -> None:
    async def ask(number: int) -> int:
        answer = await openai.completions.create(
            model="tide", prompt=f"Tide {number}?", max_tokens=200, extra_body={"ignore_eos": True}
        )
        assert answer.usage is not None
        return answer.usage.completion_tokens

    open_requests = [asyncio.create_task(ask(number)) for number in range(observer.slots)]
    await observer.wait_until_running(observer.slots)
    pid = observer.pid(router)
    observer.kill(router)
    later_requests = [asyncio.create_task(ask(number)) for number in range(20)]
    assert set(await asyncio.gather(*open_requests, *later_requests)) == {200}
    await observer.wait_until_restarted(router, pid)
