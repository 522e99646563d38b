"""What became of every stream of a run. Pure: from the run to a list of complaints and a few figures."""

from dataclasses import dataclass
from itertools import pairwise

from tests.robustness.streams.drill import Run, Struck
from tests.robustness.streams.traffic import Read, Sent

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Gaps:
    """How long streams stood still at most, each of them; in seconds, sorted."""

    all_s: list[float]

    def at(self, part: float) -> float:
        """Longer than so many of them."""
        return self.all_s[int(part * (len(self.all_s) - 1))] if self.all_s else 0.0

    def __str__(self) -> str:
        return f"p50 {self.at(0.5):.2f} s, p99 {self.at(0.99):.2f} s, max {self.at(1):.2f} s of {len(self.all_s)}"


@dataclass(frozen=True, slots=True)
class Verdict:
    """struck: streams that were open when a worker was struck; calm: the others.

    `late` says that the struck ones stood still for too long, which is the machine's fault as often as ours: tests do
    not look at it.
    """

    streams: int
    strikes: int
    resumed: int
    tokens: int
    calm: Gaps
    struck: Gaps
    late: str | None
    complaints: list[str]

    def __str__(self) -> str:
        shown = "".join(f"\n  {complaint}" for complaint in self.complaints[:SHOWN])
        return (
            f"{self.streams} streams, {self.tokens} tokens, {self.strikes} strikes, {self.resumed} resumed; "
            f"gaps while calm: {self.calm}, while struck: {self.struck}; {self.late or 'in time'}; "
            f"{len(self.complaints)} complaints{shown}"
        )


def judge(run: Run) -> Verdict:
    struck = Gaps(sorted(_gap(sent) for sent in run.sent if _was_open(sent, run.struck)))
    limit_s = max((strike.gap_s for strike in run.struck), default=0.0)
    return Verdict(
        streams=len(run.sent),
        strikes=len(run.struck),
        resumed=int(run.resumed),
        tokens=sum(sent.read.completion_tokens for sent in run.sent),
        calm=Gaps(sorted(_gap(sent) for sent in run.sent if not _was_open(sent, run.struck))),
        struck=struck,
        late=f"over {limit_s} s" if struck.at(0.99) > limit_s else None,
        complaints=[complaint for sent in run.sent if (complaint := _complaint(sent, run))]
        + [f"left behind: {what}" for what in sorted(run.left)],
    )


def _was_open(sent: Sent, struck: list[Struck]) -> bool:
    times = sent.arrivals_s
    return bool(times) and any(times[0] <= strike.at_s <= times[-1] for strike in struck)


def _gap(sent: Sent) -> float:
    return max((later - sooner for sooner, later in pairwise(sent.arrivals_s)), default=0.0)


def _complaint(sent: Sent, run: Run) -> str | None:
    if sent.status != 200 or sent.trouble or not sent.done:
        return f"{sent.sent_s:.2f} s: {sent.status} {sent.trouble or 'no end'} {_asked(sent)}"
    if difference := _difference(sent.read, run.right[sent.question]):
        return f"{sent.sent_s:.2f} s: {difference} {_asked(sent)}"
    return None


def _difference(read: Read, right: Read) -> str | None:
    for choice, text in right.text.items():
        if read.text[choice] != text:
            return f"choice {choice} reads {read.text[choice]!r}, not {text!r}"
    if read.endings != right.endings:
        return f"it ended with {read.endings}, not {right.endings}"
    for what in ("prompt_tokens", "completion_tokens"):
        if read.usage[what] != right.usage[what]:
            return f"{what} are {read.usage[what]}, not {right.usage[what]}"
    if read.logprobs != right.logprobs:
        return "the log probabilities differ"
    return None


def _asked(sent: Sent) -> str:
    return sent.question.body.decode()
