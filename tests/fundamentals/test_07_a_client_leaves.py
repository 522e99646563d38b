"""Lesson 7: a client leaves, and its slot is free.

The gateway notices that the connection is closed (services/gateway/http), cancels the request at its worker, and tells
the router. The slot goes to the next request in the same step. An answer that nobody reads costs nothing more.
"""

import asyncio

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


async def test_the_slots_of_clients_that_leave_are_free(openai: AsyncOpenAI, observer: Observer) -> None:
    async def endless(*, stream: bool) -> object:
        return await openai.completions.create(
            model="tide", prompt="Where to?", max_tokens=8000, stream=stream, extra_body={"ignore_eos": True}
        )

    stream = await endless(stream=True)
    whole = asyncio.create_task(endless(stream=False))
    await observer.wait_until_running(2)

    await stream.close()  # type: ignore[attr-defined]
    await observer.wait_until_running(1)
    whole.cancel()
    await observer.wait_until_running(0)
