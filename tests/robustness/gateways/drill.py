"""One drill: requests go through the load balancer while one gateway after another is restarted."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from random import Random

from loadtests.target import Target
from services.local.ports import Ports
from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.gateways.balancer import Balancer, balancer
from tests.robustness.invariant_checker import InjectedFault, Run
from tests.robustness.leak_checker import leaks
from tests.robustness.request import Request, chat
from tests.robustness.workload import Workload
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
"""How long a gateway that is told to leave still accepts requests: longer than the balancer's check interval."""


@dataclass(frozen=True, slots=True)
class Balanced:
    """A cluster with two gateways behind a load balancer."""

    cluster: ClusterUnderTest
    balancer: Balancer

    @property
    def target(self) -> Target:
        return Target.of(f"http://{self.balancer.address}/v1", self.cluster.view.cluster.key)

    async def restart(self, name: str) -> None:
        """Stops a gateway with SIGTERM, starts it again, and waits until both serve."""
        await asyncio.to_thread(self.cluster.injector.stop, name)
        self.cluster.injector.start(name)
        await self.wait_until_all_serve()

    async def wait_until_all_serve(self) -> None:
        """Asks the gateways themselves first: the balancer takes a new gateway for ready until its first check."""
        names = list(GATEWAYS)
        addresses = {self.cluster.view.http[name] for name in names}

        async def all_serve() -> bool:
            return await self.cluster.view.ready(names) == names and await self.balancer.serving() == addresses

        await wait_until(all_serve, description="the balancer finds every gateway ready", timeout=READY_S)


@contextmanager
def balanced(cluster: ClusterUnderTest, folder: Path) -> Iterator[Balanced]:
    """Adds a second gateway to the cluster, and a load balancer before both."""
    with (
        Ports(Random()) as ports,
        second_gateway(cluster, folder, ports),
        balancer(folder, [cluster.view.http[name] for name in GATEWAYS], ports) as started,
    ):
        yield Balanced(cluster, started)


@contextmanager
def second_gateway(cluster: ClusterUnderTest, folder: Path, ports: Ports) -> Iterator[None]:
    """Adds a second gateway to the cluster."""
    grpc, http = (f"127.0.0.1:{ports.free()}" for _ in range(2))
    data = folder / SECOND
    data.mkdir()
    environment = {"TIDEGATE_LISTEN": grpc, "TIDEGATE_HTTP_LISTEN": http, "TIDEGATE_DATA_DIR": str(data)}
    cluster.injector.processes["gateway"].environment["TIDEGATE_LINGER_S"] = str(LINGER_S)
    cluster.injector.add(SECOND, "gateway", grpc, environment)
    cluster.view.http[SECOND] = http
    try:
        yield
    finally:
        cluster.injector.stop(SECOND)
        del cluster.injector.processes[SECOND], cluster.view.http[SECOND]


def requests() -> list[Request]:
    """Streams of up to two seconds, and whole responses of different lengths."""
    streamed = {"stream": True, "stream_options": {"include_usage": True}}
    shapes = [streamed, streamed, {}]
    return [
        chat(f"Where does tide number {number} go?", max_tokens=tokens, ignore_eos=True, **shape)
        for number, shape in enumerate(shapes)
        for tokens in (25, 100, 250)
    ]


async def drill(balanced: Balanced, *, restarts: int, streams: int, seed: int) -> Run:
    """Restarts gateways in turn while `streams` requests are always open."""
    random, choices = Random(seed), requests()
    # The cluster's own gateway does not have the setting LINGER_S before its first restart.
    await balanced.restart(GATEWAYS[0])
    workload = Workload(balanced.target, random)
    try:
        expected = await workload.expected_responses(choices)
        injecting = asyncio.create_task(_restart(balanced, workload, random, restarts))
        await workload.closed_loop(lambda: random.choice(choices), streams, injecting)
    finally:
        workload.close()
    return Run(workload.log, expected, injecting.result(), 0, await leaks(balanced.cluster.view))


async def _restart(balanced: Balanced, workload: Workload, random: Random, restarts: int) -> list[InjectedFault]:
    faults = []
    for name in islice(cycle(GATEWAYS), restarts):
        await asyncio.sleep(random.uniform(0.2, 1.0))
        faults.append(InjectedFault("restarted", name, workload.now_s(), GAP_S))
        await balanced.restart(name)
    return faults
