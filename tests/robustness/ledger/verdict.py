"""What clients counted against what the ledger says. Pure: from the run to complaints and figures."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.robustness.traffic import Sent

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Row:
    request_id: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What the ledger adds up beside its rows."""

    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """cuts: a gateway was killed, so answers may break off; nothing else may go wrong."""

    sent: list[Sent]
    rows: list[Row]
    sums: Sums
    cuts: bool
    left: set[str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """answered: whole. refused: told to come again. cut: broken off by the killed gateway, or never let in."""

    requests: int
    answered: int
    refused: int
    cut: int
    rows: int
    tokens: int
    complaints: list[str]

    def __str__(self) -> str:
        shown = "".join(f"\n  {complaint}" for complaint in self.complaints[:SHOWN])
        return (
            f"{self.requests} requests: {self.answered} answered, {self.refused} refused, {self.cut} cut; "
            f"{self.rows} rows, {self.tokens} tokens; {len(self.complaints)} complaints{shown}"
        )


def judge(run: Run) -> Verdict:
    answered = [sent for sent in run.sent if sent.done and not sent.trouble]
    refused = [sent for sent in run.sent if sent.refused]
    return Verdict(
        requests=len(run.sent),
        answered=len(answered),
        refused=len(refused),
        cut=len(run.sent) - len(answered) - len(refused),
        rows=len(run.rows),
        tokens=run.sums.prompt_tokens + run.sums.completion_tokens,
        complaints=[*_of_requests(run), *_of_rows(run), *(f"left behind: {what}" for what in sorted(run.left))],
    )


def _of_requests(run: Run) -> Iterator[str]:
    rows = {row.request_id: row for row in run.rows}
    for sent in run.sent:
        row = rows.get(sent.answer.id)
        if sent.done and not sent.trouble:
            yield from _differences(sent, row)
        elif sent.answer.id and not row:
            yield f"{sent.sent_s:.2f} s: {sent.answer.id} had begun, and has no row"
        elif not sent.refused and not run.cuts:
            yield f"{sent.sent_s:.2f} s: {sent.status} {sent.trouble or 'no end'}"


def _differences(sent: Sent, row: Row | None) -> Iterator[str]:
    usage = sent.answer.usage
    counted = ("completed", usage["prompt_tokens"], usage["completion_tokens"])
    written = row and (row.outcome, row.prompt_tokens, row.completion_tokens)
    if written != counted:
        yield f"{sent.sent_s:.2f} s: {sent.answer.id} has {counted}, its row {written}"


def _of_rows(run: Run) -> Iterator[str]:
    """Rows of requests whose clients never heard of them there may be as many as were cut without a word."""
    known = {sent.answer.id for sent in run.sent if sent.answer.id}
    unheard = sum(1 for sent in run.sent if not sent.answer.id and not sent.refused)
    strange = [row for row in run.rows if row.request_id not in known]
    if len(strange) > unheard:
        yield f"{len(strange)} rows of requests that nobody knows, where {unheard} were cut without a word"
    tokens = [sum(row.prompt_tokens for row in run.rows), sum(row.completion_tokens for row in run.rows)]
    if Sums(len(run.rows), *tokens) != run.sums:
        yield f"the rows add up to {len(run.rows)} requests with {tokens} tokens, the sums say {run.sums}"
