"""The invariants of the ledger: one row for each accepted request, with the tokens that its client counted. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.robustness.workload import RequestLog

SHOWN = 12


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the ledger."""

    request_id: str
    outcome: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Sums:
    """The ledger's totals by day, added up."""

    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Run:
    """cuts: a gateway was killed, so responses may break off. Nothing else may go wrong."""

    requests: list[RequestLog]
    rows: list[Row]
    sums: Sums
    cuts: bool
    leaked: set[str]


@dataclass(frozen=True, slots=True)
class Report:
    """What the checker found. refused: with a Retry-After. cut: without an end, as the gateway was killed."""

    requests: int
    answered: int
    refused: int
    cut: int
    rows: int
    tokens: int
    violations: list[str]

    def __str__(self) -> str:
        shown = "".join(f"\n  {violation}" for violation in self.violations[:SHOWN])
        return (
            f"{self.requests} requests: {self.answered} answered, {self.refused} refused, {self.cut} cut; "
            f"{self.rows} rows, {self.tokens} tokens; {len(self.violations)} violations{shown}"
        )


def check(run: Run) -> Report:
    """Compares the ledger with what clients saw."""
    answered = [log for log in run.requests if log.complete and not log.error]
    refused = [log for log in run.requests if log.refused]
    return Report(
        requests=len(run.requests),
        answered=len(answered),
        refused=len(refused),
        cut=len(run.requests) - len(answered) - len(refused),
        rows=len(run.rows),
        tokens=run.sums.prompt_tokens + run.sums.completion_tokens,
        violations=[*_of_requests(run), *_of_rows(run), *(f"left behind: {leak}" for leak in sorted(run.leaked))],
    )


def _of_requests(run: Run) -> Iterator[str]:
    rows = {row.request_id: row for row in run.rows}
    for log in run.requests:
        row = rows.get(log.response.id)
        if log.complete and not log.error:
            yield from _differences(log, row)
        elif log.response.id and not row:
            yield f"{log.sent_s:.2f} s: {log.response.id} had begun, and has no row"
        elif not log.refused and not run.cuts:
            yield f"{log.sent_s:.2f} s: {log.status} {log.error or 'no end'}"


def _differences(log: RequestLog, row: Row | None) -> Iterator[str]:
    usage = log.response.usage
    counted = ("completed", usage["prompt_tokens"], usage["completion_tokens"])
    written = row and (row.outcome, row.prompt_tokens, row.completion_tokens)
    if written != counted:
        yield f"{log.sent_s:.2f} s: {log.response.id} has {counted}, its row {written}"


def _of_rows(run: Run) -> Iterator[str]:
    """A request that was cut before its response began may have a row, although its client does not know its id."""
    ids = {log.response.id for log in run.requests if log.response.id}
    unknown = sum(1 for log in run.requests if not log.response.id and not log.refused)
    strange = [row for row in run.rows if row.request_id not in ids]
    if len(strange) > unknown:
        yield f"{len(strange)} rows of requests that no client knows, but only {unknown} were cut before their response"
    tokens = [sum(row.prompt_tokens for row in run.rows), sum(row.completion_tokens for row in run.rows)]
    if Sums(len(run.rows), *tokens) != run.sums:
        yield f"the rows add up to {len(run.rows)} requests with {tokens} tokens, the sums say {run.sums}"
