"""From no worker to some and back: a scaler reads the metric that KEDA reads, and requests wait for its workers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from services.router.app import RouterApp
from tests.integration.cluster.whole import WholeCluster, client_of, metrics_of
from tests.support.wait import wait_until

CONFIG = """
pools:
  - name: tide
    model: tide
    scales_from_zero: true
    engine: {kind: simulated, max_running: 4, step_ms: 10}
classes:
  default: {max_wait_s: 60}
"""
MOST = 3
ASK_EVERY_S = 0.1
COOLDOWN_S = 0.3
WAIT_S = 60.0
TOKENS = 40
LONG = 200


class Scaler:
    """What KEDA does with a pool: the number of workers follows the metric, and goes down after a pause.

    Attributes:
        counts: The numbers of workers that there were, one after another.
    """

    def __init__(self, cluster: WholeCluster, router: RouterApp) -> None:
        self._cluster, self._router = cluster, router
        self._started = 0
        self._wanted_at = 0.0
        self.counts = [0]

    async def run(self) -> None:
        """Asks until it is cancelled."""
        while True:
            await self._scale(await self.desired())
            await asyncio.sleep(ASK_EVERY_S)

    async def desired(self) -> int:
        return int((await metrics_of(self._router))['tidegate_router_desired_workers{pool="tide"}'])

    async def _scale(self, desired: int) -> None:
        workers, now = self._cluster.workers, asyncio.get_running_loop().time()
        if desired >= len(workers):
            self._wanted_at = now
        while len(workers) < min(desired, MOST):
            self._started += 1
            await self._cluster.start_worker(f"worker-{self._started}", self._router.address)
            self.counts.append(len(workers))
        if desired < len(workers) and now - self._wanted_at > COOLDOWN_S:
            await self._cluster.stop_worker(next(iter(workers)))
            self.counts.append(len(workers))


@asynccontextmanager
async def scaled(cluster: WholeCluster, router: RouterApp) -> AsyncIterator[Scaler]:
    scaler = Scaler(cluster, router)
    scaling = asyncio.create_task(scaler.run())
    try:
        yield scaler
    finally:
        scaling.cancel()
        await asyncio.gather(scaling, return_exceptions=True)


async def ask(openai: Any, tier: str, *, stream: bool, tokens: int = TOKENS) -> str:
    """The words of an answer. Raises for any refusal."""
    asked = {"model": "tide", "messages": [{"role": "user", "content": "tide"}], "max_tokens": tokens, "temperature": 0}
    answer = await openai.chat.completions.create(
        **asked, service_tier=tier, extra_body={"ignore_eos": True}, stream=stream
    )
    if not stream:
        return str(answer.choices[0].message.content)
    async with aclosing(answer) as chunks:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices])


async def test_requests_wait_for_workers_that_are_not_there_yet(cluster: WholeCluster) -> None:
    await cluster.write_config(CONFIG)
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    async with client_of(gateway) as openai, scaled(cluster, router) as scaler:
        for _ in range(2):
            assert await scaler.desired() == 0
            tiers = ("default", "flex", "priority") * 6
            answers = [ask(openai, tier, stream=number % 2 == 0) for number, tier in enumerate(tiers)]
            assert len(set(await asyncio.gather(*answers))) == 1
            await wait_until(lambda: not cluster.workers, description="no worker is left", timeout=WAIT_S)
            await wait_until(lambda: _no_worker_is_known(router), description="the router knows", timeout=WAIT_S)
    assert max(scaler.counts) == MOST
    assert scaler.counts.count(0) == 3


async def _no_worker_is_known(router: RouterApp) -> bool:
    metrics = await metrics_of(router)
    states = [value for name, value in metrics.items() if name.startswith("tidegate_router_workers{")]
    return not sum(states) and not metrics['tidegate_router_desired_workers{pool="tide"}']


async def test_a_stream_of_the_last_worker_goes_on_at_the_next_one(cluster: WholeCluster) -> None:
    """A worker that must go before its stream has ended hands it over, though there is no other worker yet."""
    await cluster.write_config(CONFIG)
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    first = await cluster.start_worker("first", router.address, drain_s=0)
    await wait_until(lambda: first.ready() is None, description="the worker is ready", timeout=WAIT_S)
    async with client_of(gateway) as openai:
        whole = await ask(openai, "default", stream=False, tokens=LONG)
        streaming = asyncio.create_task(ask(openai, "default", stream=True, tokens=LONG))
        await wait_until(lambda: first.status.requests, description="the stream has begun", timeout=WAIT_S)
        await cluster.stop_worker("first")
        await wait_until(lambda: _waits(router), description="the stream waits for a worker", timeout=WAIT_S)
        await cluster.start_worker("second", router.address)
        assert await streaming == whole


async def _waits(router: RouterApp) -> bool:
    metrics = await metrics_of(router)
    queued = metrics['llm_queue_size{pool="tide",service_class="default"}']
    return queued == metrics['tidegate_router_desired_workers{pool="tide"}'] == 1
