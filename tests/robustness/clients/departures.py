"""Clients that close the connection before their response is complete: their slots must be free within a second."""

import asyncio
from dataclasses import dataclass
from random import Random

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.latencies import Latencies
from tests.robustness.leak_checker import leaks
from tests.robustness.request import Request, chat
from tests.robustness.workload import RequestLog, ResponseReceiver, Workload

AT_ONCE = 50
"""Clients in one round: more than there are slots, so some leave while they still wait in the queue."""
LONGEST_STAY_S = 1.5
FREE_WITHIN_S = 1.0
LEAK_TIMEOUT_S = 10.0
TOKENS = 4000


@dataclass(frozen=True, slots=True)
class Departures:
    """The result of the drill.

    Attributes:
        begun: Clients that left after the first byte of their response.
        freed: For each round, the time from the last departure until nothing of it was left anywhere.
        wrong: Violations that no slow machine can explain.
    """

    clients: int
    begun: int
    freed: Latencies
    wrong: list[str]

    @property
    def violations(self) -> list[str]:
        return self.wrong + [
            f"it took {took:.2f} s until a slot was free" for took in self.freed.all_s if took > FREE_WITHIN_S
        ]

    def __str__(self) -> str:
        figures = f"{self.clients} clients left, {self.begun} of them after the first byte; slots were free after"
        return f"{figures} {self.freed}; {len(self.violations)} violations" + "".join(
            f"\n  {violation}" for violation in self.violations
        )


async def departures(cluster: ClusterUnderTest, *, clients: int, seed: int) -> Departures:
    """Runs rounds of clients that leave, until so many have left."""
    random = Random(seed)
    workload = Workload(cluster.view.target, random)
    logs: list[RequestLog] = []
    freed: list[float] = []
    wrong: list[str] = []
    while len(logs) < clients:
        logs += await asyncio.gather(
            *(_stay_and_leave(workload, _request(random), random.uniform(0, LONGEST_STAY_S)) for _ in range(AT_ONCE))
        )
        gone_s = workload.now_s()
        wrong += [f"left behind: {leak}" for leak in sorted(await leaks(cluster.view, LEAK_TIMEOUT_S))]
        freed.append(workload.now_s() - gone_s)
    wrong += [f"{log.status}: {log.error}" for log in logs if log.status not in (0, 200)]
    return Departures(len(logs), sum(bool(log.arrivals_s) for log in logs), Latencies.of(freed), wrong)


def _request(random: Random) -> Request:
    text = f"Where does tide number {random.randrange(10_000)} go?"
    return chat(text, max_tokens=TOKENS, ignore_eos=True, stream=random.random() < 0.5)


async def _stay_and_leave(workload: Workload, request: Request, stay_s: float) -> RequestLog:
    log = RequestLog(request, workload.now_s())
    connection = await workload.connection()
    connection.send(workload.target.post(request.path, request.document), ResponseReceiver(log))
    await asyncio.sleep(stay_s)
    connection.abort()
    return log
