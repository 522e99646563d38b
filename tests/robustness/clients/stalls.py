"""Clients that ask for streams and do not read them: little memory for each, no harm to others, closed in time."""

import asyncio
import socket
from dataclasses import dataclass
from random import Random

import psutil

from tests.robustness.arena import Arena
from tests.robustness.leftovers import leftovers
from tests.robustness.question import Question, chat
from tests.robustness.times import Times
from tests.robustness.traffic import Traffic
from tests.support.wait import wait_until

KIB = 1024
RECEIVE_BUFFER = 4 * KIB
BOUND_KIB = 256
CLOSED_AFTER_S = 30.0
"""The gateway's own limit, counted from when its buffers are full."""
FILLED_WITHIN_S = 25.0
SLOWER_BY_S = 0.1
READERS = 8
CALM_S = 5.0
OPEN = "tidegate_gateway_open_requests"

# Answers that are many times what buffers hold, and cost the engine little: it does not stop for those who do not read.
UNREAD = chat("Where do tides go?", max_tokens=7000, ignore_eos=True, stream=True)
READ = chat("Where do tides come from?", max_tokens=50, ignore_eos=True, stream=True)


@dataclass(frozen=True, slots=True)
class Stalls:
    """kib: grown memory of the gateway for each. calm, stalled: gaps of those who read, before and meanwhile."""

    clients: int
    kib: float
    closed_s: float
    calm: Times
    stalled: Times
    complaints: list[str]

    def __str__(self) -> str:
        figures = f"{self.clients} clients stalled, {self.kib:.0f} KiB each, all closed after {self.closed_s:.1f} s"
        others = f"gaps of others before: {self.calm}, meanwhile: {self.stalled}"
        return f"{figures}; {others}; {len(self.complaints)} complaints" + "".join(
            f"\n  {complaint}" for complaint in self.complaints
        )


async def stalls(arena: Arena, *, clients: int, seed: int) -> Stalls:
    traffic = Traffic(arena.view.target, Random(seed))
    calm = await _gaps(traffic, asyncio.create_task(asyncio.sleep(CALM_S)))
    gateway = psutil.Process(arena.crew.members["gateway"].pid)
    before = gateway.memory_info().rss
    began_s = traffic.now_s()
    sockets = [await _stall(traffic, UNREAD) for _ in range(clients)]
    watching = asyncio.create_task(_watch(arena, gateway))
    # Until the buffers are full, all of them are streams like any other.
    await asyncio.sleep(FILLED_WITHIN_S)
    stalled = await _gaps(traffic, watching)
    closed_s = traffic.now_s() - began_s
    for one in sockets:
        one.close()
    kib = (watching.result() - before) / clients / KIB
    left = [f"left behind: {what}" for what in sorted(await leftovers(arena.view))]
    return Stalls(clients, kib, closed_s, calm, stalled, left + _complaints(kib, closed_s, calm, stalled))


def _complaints(kib: float, closed_s: float, calm: Times, stalled: Times) -> list[str]:
    return [
        *([f"{kib:.0f} KiB are more than {BOUND_KIB}"] if kib > BOUND_KIB else []),
        *([f"closed after {closed_s:.1f} s only"] if closed_s > CLOSED_AFTER_S + FILLED_WITHIN_S else []),
        *(["others were slower"] if stalled.at(0.99) > calm.at(0.99) + SLOWER_BY_S else []),
    ]


async def _gaps(traffic: Traffic, meanwhile: asyncio.Task[object]) -> Times:
    """Of those who read as they should."""
    already = len(traffic.sent)
    await traffic.always_open(lambda: READ, READERS, meanwhile)
    sent = traffic.sent[already:]
    assert all(one.done for one in sent), [one for one in sent if not one.done][:3]
    return Times.of(one.gap_s for one in sent)


async def _stall(traffic: Traffic, question: Question) -> socket.socket:
    """Asks, and never reads a byte."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(made, (traffic.target.host, traffic.target.port))
    await loop.sock_sendall(made, traffic.target.post(question.path, question.document))
    return made


async def _watch(arena: Arena, gateway: psutil.Process) -> int:
    """The most memory that the gateway held until it had closed them all."""
    most = 0

    async def closed() -> bool:
        nonlocal most
        most = max(most, gateway.memory_info().rss)
        return await arena.view.metric("gateway", OPEN) <= READERS

    await wait_until(closed, description="all who stall are closed", timeout=CLOSED_AFTER_S + 2 * FILLED_WITHIN_S)
    return most
