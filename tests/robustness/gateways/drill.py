"""One run: requests through the load balancer while one gateway after another leaves and is started again."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

from loadtests.target import Target
from services.local.ports import Ports
from tests.robustness.arena import Arena
from tests.robustness.gateways.balancer import Balancer, balancer
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question, chat
from tests.robustness.traffic import Traffic
from tests.robustness.verdict import Run, Struck
from tests.support.wait import wait_until

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 48, step_ms: 8}}
"""
SECOND = "gateway-2"
GATEWAYS = ("gateway", SECOND)
READY_S = 60.0
GAP_S = 2.0
LINGER_S = 1.5
"""Longer than the balancer's interval."""


@dataclass(frozen=True, slots=True)
class Balanced:
    arena: Arena
    balancer: Balancer

    @property
    def target(self) -> Target:
        return Target.of(f"http://{self.balancer.address}/v1", self.arena.view.cluster.key)

    async def restart(self, name: str) -> None:
        await asyncio.to_thread(self.arena.crew.stop, name)
        self.arena.crew.start(name)
        await self.wait_until_all_serve()

    async def wait_until_all_serve(self) -> None:
        """The balancer takes a gateway for well until it has looked: so they are asked themselves first."""
        names = list(GATEWAYS)
        wanted = {self.arena.view.http[name] for name in names}

        async def all_serve() -> bool:
            return await self.arena.view.ready(names) == names and await self.balancer.serving() == wanted

        await wait_until(all_serve, description="the balancer finds every gateway ready", timeout=READY_S)


@contextmanager
def balanced(built: Arena, folder: Path) -> Iterator[Balanced]:
    """The cluster with a second gateway, and what stands before them."""
    with (
        Ports(Random()) as ports,
        _second_gateway(built, folder, ports),
        balancer(folder, [built.view.http[name] for name in GATEWAYS], ports) as before_them,
    ):
        yield Balanced(built, before_them)


@contextmanager
def _second_gateway(built: Arena, folder: Path, ports: Ports) -> Iterator[None]:
    grpc, http = (f"127.0.0.1:{ports.free()}" for _ in range(2))
    data = folder / SECOND
    data.mkdir()
    told = {"TIDEGATE_LISTEN": grpc, "TIDEGATE_HTTP_LISTEN": http, "TIDEGATE_DATA_DIR": str(data)}
    built.crew.members["gateway"].environment["TIDEGATE_LINGER_S"] = str(LINGER_S)
    built.crew.copy(SECOND, "gateway", grpc, told)
    built.view.http[SECOND] = http
    try:
        yield
    finally:
        built.crew.stop(SECOND)
        del built.crew.members[SECOND], built.view.http[SECOND]


def questions() -> list[Question]:
    """Streams of two seconds, and answers in one piece of different lengths."""
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    shapes = [streamed, streamed, {}]
    return [
        chat(f"Where does tide number {number} go?", max_tokens=tokens, ignore_eos=True, **shape)
        for number, shape in enumerate(shapes)
        for tokens in (25, 100, 250)
    ]


async def drill(balanced: Balanced, *, restarts: int, streams: int, seed: int) -> Run:
    random, asked = Random(seed), questions()
    # The one that the cluster came with was not told yet to linger.
    await balanced.restart(GATEWAYS[0])
    traffic = Traffic(balanced.target, random)
    try:
        right = await traffic.learn(asked)
        striking = asyncio.create_task(_restart(balanced, traffic, random, restarts))
        await traffic.always_open(lambda: random.choice(asked), streams, striking)
    finally:
        traffic.close()
    return Run(traffic.sent, right, striking.result(), 0, await leftovers(balanced.arena.view))


async def _restart(balanced: Balanced, traffic: Traffic, random: Random, restarts: int) -> list[Struck]:
    struck = []
    for name in islice(cycle(GATEWAYS), restarts):
        await asyncio.sleep(random.uniform(0.2, 1.0))
        struck.append(Struck("restarted", name, traffic.now_s(), GAP_S))
        await balanced.restart(name)
    return struck
