"""Short drills, and the verdict itself. `python -m tests.robustness.ledger` runs the long ones."""

import pytest

from tests.robustness.accounted import Accounted
from tests.robustness.ledger.drill import drill
from tests.robustness.ledger.faults import FROZEN, KILLED, STOPPED
from tests.robustness.ledger.verdict import Row, Run, Sums, judge
from tests.robustness.question import chat
from tests.robustness.traffic import Sent

SEED = 20261121


@pytest.mark.cluster
@pytest.mark.timeout(240)
async def test_every_accepted_request_has_its_row_whatever_goes_away(with_database: Accounted) -> None:
    for fault in (STOPPED, FROZEN):
        verdict = judge(await drill(with_database, fault, hold_s=2.0, per_second=20.0, seed=SEED))
        assert not verdict.complaints, f"{fault.name}: {verdict}"
        assert verdict.rows == verdict.answered == verdict.requests > 0
    verdict = judge(await drill(with_database, KILLED, hold_s=3.0, per_second=40.0, seed=SEED))
    assert not verdict.complaints, f"{KILLED.name}: {verdict}"
    assert verdict.answered > 0


def answered(request_id: str, prompt: int, completion: int) -> Sent:
    sent = Sent(chat("Where to?"), 0.0, status=200, done=True)
    sent.answer.id, sent.answer.usage = request_id, {"prompt_tokens": prompt, "completion_tokens": completion}
    return sent


def run(*rows: Row, cuts: bool = False) -> Run:
    """One answered request of 3 and 4 tokens, and one that a killed gateway left without a word."""
    cut = [Sent(chat("And you?"), 0.0, trouble="lost")] if cuts else []
    sums = Sums(len(rows), sum(row.prompt_tokens for row in rows), sum(row.completion_tokens for row in rows))
    return Run([answered("a", 3, 4), *cut], list(rows), sums, cuts, set())


RIGHT = Row("a", "completed", 3, 4)


def test_the_verdict_sees_what_is_lost_wrong_and_too_much() -> None:
    assert not judge(run(RIGHT)).complaints
    assert not judge(run(RIGHT, Row("b", "lost", 0, 0), cuts=True)).complaints
    wrong = [run(), run(Row("a", "completed", 3, 5)), run(Row("a", "lost", 0, 0)), run(RIGHT, Row("b", "lost", 0, 0))]
    doubled = Run([answered("a", 3, 4)], [RIGHT], Sums(2, 6, 8), cuts=False, left=set())
    assert all(judge(one).complaints for one in (*wrong, doubled))
