"""What became of every request of a run that nothing may be seen in. Pure: from the run to complaints and figures."""

from dataclasses import dataclass

from tests.robustness.answer import Answer, difference
from tests.robustness.question import Question
from tests.robustness.times import Times
from tests.robustness.traffic import Sent

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Struck:
    """at_s: seconds of the drill. gap_s: how long 99 of 100 streams may stand still at most."""

    fault: str
    process: str
    at_s: float
    gap_s: float


@dataclass(frozen=True, slots=True)
class Run:
    sent: list[Sent]
    right: dict[Question, Answer]
    struck: list[Struck]
    resumed: float
    """Streams that the gateway says went on elsewhere."""
    left: set[str]
    """What should not be there when all have ended."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How long streams stood still at most. struck: those that were open when a process was struck; calm: the others.

    `late` says that the struck ones stood still for too long, which is the machine's fault as often as ours: tests do
    not look at it.
    """

    requests: int
    strikes: int
    resumed: int
    tokens: int
    calm: Times
    struck: Times
    late: str | None
    complaints: list[str]

    def __str__(self) -> str:
        shown = "".join(f"\n  {complaint}" for complaint in self.complaints[:SHOWN])
        return (
            f"{self.requests} requests, {self.tokens} tokens, {self.strikes} strikes, {self.resumed} resumed; "
            f"gaps while calm: {self.calm}, while struck: {self.struck}; {self.late or 'in time'}; "
            f"{len(self.complaints)} complaints{shown}"
        )


def judge(run: Run) -> Verdict:
    struck = Times.of(sent.gap_s for sent in run.sent if _was_open(sent, run.struck))
    limit_s = max((strike.gap_s for strike in run.struck), default=0.0)
    return Verdict(
        requests=len(run.sent),
        strikes=len(run.struck),
        resumed=int(run.resumed),
        tokens=sum(sent.answer.completion_tokens for sent in run.sent),
        calm=Times.of(sent.gap_s for sent in run.sent if not _was_open(sent, run.struck)),
        struck=struck,
        late=f"over {limit_s} s" if struck.at(0.99) > limit_s else None,
        complaints=[complaint for sent in run.sent if (complaint := _complaint(sent, run))]
        + [f"left behind: {what}" for what in sorted(run.left)],
    )


def _was_open(sent: Sent, struck: list[Struck]) -> bool:
    times = sent.arrivals_s
    return bool(times) and any(times[0] <= strike.at_s <= times[-1] for strike in struck)


def _complaint(sent: Sent, run: Run) -> str | None:
    if sent.status != 200 or sent.trouble or not sent.done:
        return f"{sent.sent_s:.2f} s: {sent.status} {sent.trouble or 'no end'} {sent.question}"
    if wrong := difference(sent.answer, run.right[sent.question]):
        return f"{sent.sent_s:.2f} s: {wrong} {sent.question}"
    return None
