"""Ten times more requests than can be served: refusals are quick and have a Retry-After, and `priority` is served."""

import asyncio
from collections import Counter
from dataclasses import dataclass
from random import Random

from tests.robustness.cluster_under_test import ClusterUnderTest
from tests.robustness.latencies import Latencies
from tests.robustness.leak_checker import leaks
from tests.robustness.request import Request, chat
from tests.robustness.response import Response, mismatch
from tests.robustness.workload import RequestLog, Workload

TIERS = {"priority": 4, "default": 66, "flex": 30}
"""Shares in percent. The cluster can easily serve all of `priority`."""
PROMPTS = 8
TOKENS = 20
REFUSED_WITHIN_S = 0.05
SERVED = 0.999


@dataclass(frozen=True, slots=True)
class Flood:
    """The result of the drill.

    Attributes:
        sent: Requests by tier.
        answered: Complete responses by tier.
        refused: How long refusals took.
        priority: How long complete responses to `priority` requests took.
        wrong: Violations that no slow machine can explain.
    """

    sent: Counter[str]
    answered: Counter[str]
    refused: Latencies
    priority: Latencies
    wrong: list[str]

    @property
    def violations(self) -> list[str]:
        slow = [f"99 of 100 refusals took {self.refused.percentile(0.99):.3f} s"]
        few = [f"only {self.answered['priority']} of {self.sent['priority']} priority requests were answered"]
        return [
            *self.wrong,
            *(slow if self.refused.percentile(0.99) > REFUSED_WITHIN_S else []),
            *(few if self.answered["priority"] < SERVED * self.sent["priority"] else []),
            *([] if self.refused.all_s else ["nothing was refused, so there was no flood"]),
        ]

    def __str__(self) -> str:
        tiers = ", ".join(f"{self.answered[tier]} of {sent} {tier}" for tier, sent in self.sent.items())
        times = f"refusals took {self.refused}, priority responses {self.priority}"
        return f"answered {tiers}; {times}; {len(self.violations)} violations" + "".join(
            f"\n  {violation}" for violation in self.violations[:12]
        )


def _requests(tier: str) -> list[Request]:
    return [
        chat(f"Where does tide number {n} go?", max_tokens=TOKENS, ignore_eos=True, service_tier=tier)
        for n in range(PROMPTS)
    ]


async def flood(cluster: ClusterUnderTest, *, per_second: float, lasts_s: float, seed: int) -> Flood:
    """Sends so many requests per second for so many seconds."""
    random = Random(seed)
    requests = {tier: _requests(tier) for tier in TIERS}
    tiers = {request: tier for tier, choices in requests.items() for request in choices}

    def pick() -> Request:
        return random.choice(requests[random.choices(list(TIERS), list(TIERS.values()))[0]])

    workload = Workload(cluster.view.target, random)
    try:
        expected = await workload.expected_responses(tiers)
        await workload.open_loop(pick, per_second, asyncio.create_task(asyncio.sleep(lasts_s)))
    finally:
        workload.close()
    wrong = [violation for log in workload.log if (violation := _violation(log, expected))]
    wrong += [f"left behind: {leak}" for leak in sorted(await leaks(cluster.view))]
    return _summary(workload.log, tiers, wrong)


def _summary(logs: list[RequestLog], tiers: dict[Request, str], wrong: list[str]) -> Flood:
    sent = Counter(tiers[log.request] for log in logs)
    answered = Counter(tiers[log.request] for log in logs if log.complete)
    refused = Latencies.of(log.took_s for log in logs if log.refused)
    priority = Latencies.of(log.took_s for log in logs if log.complete and tiers[log.request] == "priority")
    return Flood(sent, answered, refused, priority, wrong)


def _violation(log: RequestLog, expected: dict[Request, Response]) -> str | None:
    if log.complete:
        return mismatch(log.response, expected[log.request])
    return None if log.refused else f"{log.status or 'no response'}: {log.error}, retry-after {log.retry_after}"
