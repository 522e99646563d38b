"""The judge of the drills is itself tried: what it must not let pass."""

from collections.abc import Callable

import pytest

from tests.robustness.answer import Answer
from tests.robustness.question import Question
from tests.robustness.traffic import Sent
from tests.robustness.verdict import Run, Struck, judge

QUESTION = Question("/chat/completions", b"{}")


def answer(*texts: str) -> Answer:
    read = Answer()
    for text in texts:
        read.take({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": text}}]})
    read.take({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    read.take({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(texts)}})
    return read


def run(sent: Sent) -> Run:
    return Run([sent], {QUESTION: answer("a", "b")}, [Struck("killed", "worker-1", 2.0, gap_s=2.0)], 1, set())


def answered(*texts: str) -> Sent:
    return Sent(QUESTION, 0.0, status=200, arrivals_s=[1.0, 1.5, 2.5], answer=answer(*texts), done=True)


def test_the_same_answer_passes() -> None:
    verdict = judge(run(answered("a", "b")))
    assert not verdict.complaints
    assert verdict.struck.all_s == [1.0]
    assert verdict.late is None


@pytest.mark.parametrize("texts", [("a",), ("a", "b", "b"), ("a", "c"), ("a", "", "b")])
def test_a_lost_a_repeated_a_wrong_and_an_uncounted_token_do_not(texts: tuple[str, ...]) -> None:
    assert judge(run(answered(*texts))).complaints


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sent: setattr(sent, "done", False),
        lambda sent: setattr(sent, "trouble", "engine_failed"),
        lambda sent: setattr(sent, "status", 503),
        lambda sent: sent.answer.endings.update({0: "length"}),
    ],
    ids=["no end", "error", "status", "other ending"],
)
def test_nor_does_another_end(spoil: Callable[[Sent], None]) -> None:
    sent = answered("a", "b")
    spoil(sent)
    assert judge(run(sent)).complaints


def test_a_long_gap_is_late() -> None:
    sent = answered("a", "b")
    sent.arrivals_s = [1.0, 4.0]
    assert judge(run(sent)).late == "over 2.0 s"
