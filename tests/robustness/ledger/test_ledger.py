"""Short drills of the ledger, and its invariant checker. `python -m tests.robustness.ledger` runs long drills."""

import pytest

from tests.robustness.cluster_with_database import ClusterWithDatabase
from tests.robustness.ledger.drill import drill
from tests.robustness.ledger.faults import FROZEN, KILLED, STOPPED
from tests.robustness.ledger.invariant_checker import Row, Run, Sums, check
from tests.robustness.request import chat
from tests.robustness.workload import RequestLog

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(240)
async def test_every_accepted_request_has_its_row_when_database_and_gateway_fail(
    cluster_with_database: ClusterWithDatabase,
) -> None:
    for fault in (STOPPED, FROZEN):
        report = check(await drill(cluster_with_database, fault, hold_s=2.0, per_second=20.0, seed=SEED))
        assert not report.violations, f"{fault.name}: {report}"
        assert report.rows == report.answered == report.requests > 0
    report = check(await drill(cluster_with_database, KILLED, hold_s=3.0, per_second=40.0, seed=SEED))
    assert not report.violations, f"{KILLED.name}: {report}"
    assert report.answered > 0


def answered(request_id: str, prompt: int, completion: int) -> RequestLog:
    log = RequestLog(chat("Where to?"), 0.0, status=200, complete=True)
    log.response.id, log.response.usage = request_id, {"prompt_tokens": prompt, "completion_tokens": completion}
    return log


def run(*rows: Row, cuts: bool = False) -> Run:
    """One complete request of 3 and 4 tokens; with `cuts`, one more that a killed gateway never answered."""
    cut = [RequestLog(chat("And you?"), 0.0, error="lost")] if cuts else []
    sums = Sums(len(rows), sum(row.prompt_tokens for row in rows), sum(row.completion_tokens for row in rows))
    return Run([answered("a", 3, 4), *cut], list(rows), sums, cuts, set())


RIGHT = Row("a", "completed", 3, 4)


def test_missing_wrong_and_surplus_rows_are_violations() -> None:
    assert not check(run(RIGHT)).violations
    assert not check(run(RIGHT, Row("b", "lost", 0, 0), cuts=True)).violations
    wrong = [run(), run(Row("a", "completed", 3, 5)), run(Row("a", "lost", 0, 0)), run(RIGHT, Row("b", "lost", 0, 0))]
    doubled = Run([answered("a", 3, 4)], [RIGHT], Sums(2, 6, 8), cuts=False, leaked=set())
    assert all(check(one).violations for one in (*wrong, doubled))
