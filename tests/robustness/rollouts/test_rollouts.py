"""What the drill calls a violation. Its short form runs in one process: tests/integration/router."""

from dataclasses import replace

from services.cli.clients.rollouts import Rollout
from tests.robustness.rollouts.drill import Answer, Cycle

OLD, NEW = "old", "new"
DONE = Rollout(id="r", pool="tide", version=NEW, previous=OLD, state="done", reason="", started=0, ended=1, workers=())
ANSWERS = [Answer(0, 1.0, 1.5, OLD), Answer(1, 1.9, 2.6, OLD), Answer(0, 1.8, 2.0, NEW), Answer(1, 2.1, 2.2, NEW)]
GOOD = Cycle(OLD, NEW, False, DONE, 3.0, ANSWERS)


def with_answer(answer: Answer) -> list[str]:
    return replace(GOOD, answers=[*ANSWERS, answer]).violations()


def test_a_request_that_was_sent_before_the_first_new_answer_came_may_be_answered_by_either() -> None:
    assert GOOD.violations() == []
    assert GOOD.longest_s == 2.6 - 1.9


def test_a_request_that_was_sent_after_it_may_not_be_answered_by_the_old_version() -> None:
    assert with_answer(Answer(1, 2.25, 2.5, OLD)) == ["gateway 1: sent 0.250 s after, and old"]


def test_failures_strange_versions_and_rollouts_that_show_nothing_are_violations() -> None:
    assert with_answer(Answer(0, 1.0, 1.1, "", "503: no")) == ["gateway 0: 503: no"]
    assert with_answer(Answer(0, 1.0, 1.1, "other")) == ["version other"]
    assert replace(GOOD, answers=ANSWERS[:2]).violations() == ["requests did not see both versions"]
    failed = DONE.model_copy(update={"state": "failed", "reason": "w1: no"})
    assert replace(GOOD, rollout=failed).violations() == ["the rollout is failed: w1: no"]
