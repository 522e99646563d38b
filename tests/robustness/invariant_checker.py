"""The invariants of a run in which no client may notice a fault: every response is complete and right, nothing is left.

Pure: from the log of a run to a report.
"""

from dataclasses import dataclass

from tests.robustness.latencies import Latencies
from tests.robustness.request import Request
from tests.robustness.response import Response, mismatch
from tests.robustness.workload import RequestLog

SHOWN = 12


@dataclass(frozen=True, slots=True)
class InjectedFault:
    """at_s: seconds since the run began. gap_s: the longest pause that 99 of 100 streams may have."""

    fault: str
    process: str
    at_s: float
    gap_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """What happened in one drill.

    Attributes:
        requests: Every request with all that came back.
        expected: The right response to each request, recorded before the first fault.
        faults: What was injected, and when.
        resumed: Streams that continued on another worker, as the gateway counts them.
        leaked: What should not be there after all requests have ended.
    """

    requests: list[RequestLog]
    expected: dict[Request, Response]
    faults: list[InjectedFault]
    resumed: float
    leaked: set[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the checker found.

    `late` says that streams which were open during a fault paused for too long. A slow machine can cause that as well,
    so tests do not look at it; the commands do.

    Attributes:
        calm: The longest pause of each stream that saw no fault.
        faulty: The longest pause of each stream that was open when a fault was injected.
        violations: Broken invariants, in words.
    """

    requests: int
    faults: int
    resumed: int
    tokens: int
    calm: Latencies
    faulty: Latencies
    late: str | None
    violations: list[str]

    def __str__(self) -> str:
        shown = "".join(f"\n  {violation}" for violation in self.violations[:SHOWN])
        return (
            f"{self.requests} requests, {self.tokens} tokens, {self.faults} faults, {self.resumed} resumed; "
            f"gaps without a fault: {self.calm}, with one: {self.faulty}; {self.late or 'in time'}; "
            f"{len(self.violations)} violations{shown}"
        )


def check(run: Run) -> Report:
    """Compares every response with the expected one."""
    faulty = Latencies.of(log.gap_s for log in run.requests if _saw_a_fault(log, run.faults))
    limit_s = max((fault.gap_s for fault in run.faults), default=0.0)
    return Report(
        requests=len(run.requests),
        faults=len(run.faults),
        resumed=int(run.resumed),
        tokens=sum(log.response.completion_tokens for log in run.requests),
        calm=Latencies.of(log.gap_s for log in run.requests if not _saw_a_fault(log, run.faults)),
        faulty=faulty,
        late=f"over {limit_s} s" if faulty.percentile(0.99) > limit_s else None,
        violations=[violation for log in run.requests if (violation := _violation(log, run))]
        + [f"left behind: {leak}" for leak in sorted(run.leaked)],
    )


def _saw_a_fault(log: RequestLog, faults: list[InjectedFault]) -> bool:
    times = log.arrivals_s
    return bool(times) and any(times[0] <= fault.at_s <= times[-1] for fault in faults)


def _violation(log: RequestLog, run: Run) -> str | None:
    if log.status != 200 or log.error or not log.complete:
        return f"{log.sent_s:.2f} s: {log.status} {log.error or 'no end'} {log.request}"
    if wrong := mismatch(log.response, run.expected[log.request]):
        return f"{log.sent_s:.2f} s: {wrong} {log.request}"
    return None
