"""What the lessons share: a client, a view of the cluster, and a cluster that is complete again after each lesson."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer
from tests.support.cluster import RunningCluster


@pytest.fixture
async def openai(simulated: RunningCluster) -> AsyncIterator[AsyncOpenAI]:
    """OpenAI's own client. It never retries, so a test sees every failure."""
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key, max_retries=0) as client:
        yield client


@pytest.fixture
async def observer(simulated: RunningCluster) -> AsyncIterator[Observer]:
    """The cluster as its operators see it. After the lesson it waits until the cluster is complete and idle."""
    async with Observer(simulated) as seen:
        yield seen
        await seen.wait_until_complete()


@pytest.fixture
async def busy_slots(openai: AsyncOpenAI, observer: Observer) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """Requests that never end by themselves, one in each of the cluster's slots. Cancel one to free its slot."""
    endless: dict[str, Any] = {"max_tokens": 8000, "extra_body": {"ignore_eos": True}}
    requests = [
        asyncio.create_task(openai.completions.create(model="tide", prompt="Where does the tide go?", **endless))
        for _ in range(observer.slots)
    ]
    await observer.wait_until_running(len(requests))
    yield requests
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
