"""The invariants: each request gets the right response, or a clean refusal while Redis is away. Pure."""

from collections import Counter
from dataclasses import dataclass

from tests.robustness.response import mismatch
from tests.robustness.router.drill import InjectedFault, Run
from tests.robustness.workload import RequestLog

RECOVERY_S = 5.0
"""How long after a fault of Redis a request may still be refused."""
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Violation:
    """what: its kind. where: the request and the details."""

    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Report:
    """What the checker found. recovered_s: the longest time from the end of a fault to a refusal because of it."""

    requests: int
    answered: int
    refused: int
    faults: int
    slowest: RequestLog | None
    recovered_s: float
    violations: list[Violation]

    def __str__(self) -> str:
        figures = f"{self.requests} requests, {self.answered} answered, {self.refused} refused with Retry-After"
        times = f"{self.faults} faults, last refusal {self.recovered_s:.2f} s after one, slowest {self._slowest()}"
        return f"{figures}; {times}; {len(self.violations)} violations" + "".join(
            f"\n  {line}" for line in self._kinds()
        )

    def _kinds(self) -> list[str]:
        """One line for each kind of violation, the most frequent first."""
        counts = Counter(violation.what for violation in self.violations)
        firsts = {violation.what: violation.where for violation in reversed(self.violations)}
        return [f"{count} x {what}, first {firsts[what]}" for what, count in counts.most_common(SHOWN)]

    def _slowest(self) -> str:
        return f"{self.slowest.took_s:.2f} s from {self.slowest.sent_s:.2f} s on" if self.slowest else "none"


def check(run: Run) -> Report:
    """Checks every request of a run."""
    refused = [log for log in run.requests if log.refused]
    violations = [violation for log in run.requests if (violation := _violation(log, run))]
    violations += [Violation(f"left in Redis: {key.split(':')[0]}", key) for key in sorted(run.leaked)]
    return Report(
        requests=len(run.requests),
        answered=sum(log.status == 200 for log in run.requests),
        refused=len(refused),
        faults=len(run.faults),
        slowest=max(run.requests, key=lambda log: log.took_s, default=None),
        recovered_s=max((_since(log, run.faults) for log in refused), default=0.0),
        violations=violations,
    )


def _violation(log: RequestLog, run: Run) -> Violation | None:
    """None for the right response, and for a clean refusal while Redis is away or within RECOVERY_S after.

    A refusal is 503 while Redis is away. It is 429 when Redis is back and so many requests arrive that the queue is
    full.
    """
    where = f"{log.request} from {log.sent_s:.2f} to {log.ended_s:.2f} s"
    if log.complete:
        wrong = mismatch(log.response, run.expected[log.request])
        return Violation("wrong response", f"{where}: {wrong}") if wrong else None
    if log.refused and _since(log, run.faults) <= RECOVERY_S:
        return None
    return Violation(f"{log.status or 'no response'}: {log.error}", where)


def _since(log: RequestLog, faults: list[InjectedFault]) -> float:
    """Seconds from the end of the last fault that hid Redis to the end of this request; infinite without one."""
    before = [fault.until_s for fault in faults if fault.hides_redis and fault.from_s <= log.ended_s]
    return max(0.0, log.ended_s - max(before)) if before else float("inf")
