"""Clients that request a stream and do not read it: each costs little memory, delays nobody, and is closed in time."""

import asyncio
import socket
from dataclasses import dataclass
from random import Random

import psutil

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.latencies import Latencies
from tests.robustness.leak_checker import leaks
from tests.robustness.request import Request, chat
from tests.robustness.workload import Workload
from tests.support.wait import wait_until

KIB = 1024
RECEIVE_BUFFER = 4 * KIB
BOUND_KIB = 256
CLOSED_AFTER_S = 30.0
"""The gateway's own limit, from the moment when its buffers are full."""
FILLED_WITHIN_S = 25.0
SLOWER_BY_S = 0.1
READERS = 8
CALM_S = 5.0
OPEN = "tidegate_gateway_open_requests"

UNREAD = chat("Where do tides go?", max_tokens=7000, ignore_eos=True, stream=True)
"""A response many times larger than all buffers. The engine does not wait for clients that do not read."""
READ = chat("Where do tides come from?", max_tokens=50, ignore_eos=True, stream=True)


@dataclass(frozen=True, slots=True)
class Stalls:
    """kib: gateway memory for each. calm, stalled: pauses of clients that read, before and during the stall."""

    clients: int
    kib: float
    closed_s: float
    calm: Latencies
    stalled: Latencies
    violations: list[str]

    def __str__(self) -> str:
        figures = f"{self.clients} clients stalled, {self.kib:.0f} KiB each, all closed after {self.closed_s:.1f} s"
        others = f"pauses of other clients before: {self.calm}, meanwhile: {self.stalled}"
        return f"{figures}; {others}; {len(self.violations)} violations" + "".join(
            f"\n  {violation}" for violation in self.violations
        )


async def stalls(cluster: ClusterUnderTest, *, clients: int, seed: int) -> Stalls:
    """Opens streams that nobody reads, and measures until the gateway has closed them all."""
    workload = Workload(cluster.view.target, Random(seed))
    calm = await _gaps(workload, asyncio.create_task(asyncio.sleep(CALM_S)))
    gateway = psutil.Process(cluster.injector.processes["gateway"].pid)
    before = gateway.memory_info().rss
    began_s = workload.now_s()
    sockets = [await _stall(workload, UNREAD) for _ in range(clients)]
    watching = asyncio.create_task(_watch(cluster, gateway))
    # Until the buffers are full, these are streams like any other, and the engine is busy with them.
    await asyncio.sleep(FILLED_WITHIN_S)
    stalled = await _gaps(workload, watching)
    closed_s = workload.now_s() - began_s
    for unread in sockets:
        unread.close()
    kib = (watching.result() - before) / clients / KIB
    leaked = [f"left behind: {leak}" for leak in sorted(await leaks(cluster.view))]
    return Stalls(clients, kib, closed_s, calm, stalled, leaked + _violations(kib, closed_s, calm, stalled))


def _violations(kib: float, closed_s: float, calm: Latencies, stalled: Latencies) -> list[str]:
    return [
        *([f"{kib:.0f} KiB are more than {BOUND_KIB}"] if kib > BOUND_KIB else []),
        *([f"it took {closed_s:.1f} s until all were closed"] if closed_s > CLOSED_AFTER_S + FILLED_WITHIN_S else []),
        *(["other clients were slower"] if stalled.percentile(0.99) > calm.percentile(0.99) + SLOWER_BY_S else []),
    ]


async def _gaps(workload: Workload, meanwhile: asyncio.Task[object]) -> Latencies:
    """The longest pause of each stream of clients that read."""
    already = len(workload.log)
    await workload.closed_loop(lambda: READ, READERS, meanwhile)
    logs = workload.log[already:]
    assert all(log.complete for log in logs), [log for log in logs if not log.complete][:3]
    return Latencies.of(log.gap_s for log in logs)


async def _stall(workload: Workload, request: Request) -> socket.socket:
    """Sends a request and never reads a byte."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, (workload.target.host, workload.target.port))
    await loop.sock_sendall(made, workload.target.post(request.path, request.document))
    return made


async def _watch(cluster: ClusterUnderTest, gateway: psutil.Process) -> int:
    """The most memory, in bytes, that the gateway had until all were closed."""
    most = 0

    async def closed() -> bool:
        nonlocal most
        most = max(most, gateway.memory_info().rss)
        return await cluster.view.metric("gateway", OPEN) <= READERS

    await wait_until(closed, description="all stalled streams are closed", timeout=CLOSED_AFTER_S + 2 * FILLED_WITHIN_S)
    return most
