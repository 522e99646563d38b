"""What became of every request of a run. Pure: from the run to a list of complaints and a few figures."""

from collections import Counter
from dataclasses import dataclass

from tests.robustness.answer import difference
from tests.robustness.router.drill import Run, Struck
from tests.robustness.traffic import Sent

RECOVERY_S = 5.0
SHOWN = 12


@dataclass(frozen=True, slots=True)
class Complaint:
    what: str
    where: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Times in seconds; `recovered_s`: the longest from a fault's end to the last refusal on its account."""

    asked: int
    answered: int
    refused: int
    faults: int
    slowest: Sent | None
    recovered_s: float
    complaints: list[Complaint]

    def __str__(self) -> str:
        figures = f"{self.asked} requests, {self.answered} answered, {self.refused} refused with Retry-After"
        times = f"{self.faults} faults, last refusal {self.recovered_s:.2f} s after one, slowest {self._slowest()}"
        return f"{figures}; {times}; {len(self.complaints)} complaints" + "".join(
            f"\n  {line}" for line in self._kinds()
        )

    def _kinds(self) -> list[str]:
        """Complaints of a kind in one line, the most frequent first."""
        counts = Counter(complaint.what for complaint in self.complaints)
        firsts = {complaint.what: complaint.where for complaint in reversed(self.complaints)}
        return [f"{count} x {what}, first {firsts[what]}" for what, count in counts.most_common(SHOWN)]

    def _slowest(self) -> str:
        return f"{self.slowest.took_s:.2f} s from {self.slowest.sent_s:.2f} s on" if self.slowest else "none"


def judge(run: Run) -> Verdict:
    refused = [sent for sent in run.sent if sent.refused]
    complaints = [complaint for sent in run.sent if (complaint := _complaint(sent, run))]
    complaints += [Complaint(f"left in Redis: {key.split(':')[0]}", key) for key in sorted(run.left)]
    return Verdict(
        asked=len(run.sent),
        answered=sum(sent.status == 200 for sent in run.sent),
        refused=len(refused),
        faults=len(run.struck),
        slowest=max(run.sent, key=lambda sent: sent.took_s, default=None),
        recovered_s=max((_since(sent, run.struck) for sent in refused), default=0.0),
        complaints=complaints,
    )


def _complaint(sent: Sent, run: Run) -> Complaint | None:
    """Exactly one good outcome, or a clean refusal while Redis is away and for RECOVERY_S after.

    503 while the store is away, 429 for what comes all at once when it is back and finds the queue full.
    """
    where = f"{sent.question} from {sent.sent_s:.2f} to {sent.ended_s:.2f} s"
    if sent.done:
        wrong = difference(sent.answer, run.right[sent.question])
        return Complaint("wrong answer", f"{where}: {wrong}") if wrong else None
    if sent.refused and _since(sent, run.struck) <= RECOVERY_S:
        return None
    return Complaint(f"{sent.status or 'no answer'}: {sent.trouble}", where)


def _since(sent: Sent, struck: list[Struck]) -> float:
    """Seconds from the end of the last fault that hid Redis to the end of this request."""
    before = [fault.until_s for fault in struck if fault.hides_redis and fault.from_s <= sent.ended_s]
    return max(0.0, sent.ended_s - max(before)) if before else float("inf")
