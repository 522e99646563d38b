"""The invariant checker finds each kind of violation."""

from collections.abc import Callable

import pytest

from tests.robustness.invariant_checker import InjectedFault, Run, check
from tests.robustness.request import Request
from tests.robustness.response import Response
from tests.robustness.workload import RequestLog

REQUEST = Request("/chat/completions", b"{}")


def response(*texts: str) -> Response:
    read = Response()
    for text in texts:
        read.take({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {"content": text}}]})
    read.take({"id": "chatcmpl-1", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    read.take({"id": "chatcmpl-1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(texts)}})
    return read


def run(log: RequestLog) -> Run:
    faults = [InjectedFault("killed", "worker-1", 2.0, gap_s=2.0)]
    return Run([log], {REQUEST: response("a", "b")}, faults, 1, set())


def answered(*texts: str) -> RequestLog:
    return RequestLog(REQUEST, 0.0, status=200, arrivals_s=[1.0, 1.5, 2.5], response=response(*texts), complete=True)


def test_the_expected_response_is_no_violation() -> None:
    report = check(run(answered("a", "b")))
    assert not report.violations
    assert report.faulty.all_s == [1.0]
    assert report.late is None


@pytest.mark.parametrize("texts", [("a",), ("a", "b", "b"), ("a", "c"), ("a", "", "b")])
def test_a_lost_repeated_wrong_or_uncounted_token_is_a_violation(texts: tuple[str, ...]) -> None:
    assert check(run(answered(*texts))).violations


@pytest.mark.parametrize(
    "spoil",
    [
        lambda log: setattr(log, "complete", False),
        lambda log: setattr(log, "error", "engine_failed"),
        lambda log: setattr(log, "status", 503),
        lambda log: log.response.finish_reasons.update({0: "length"}),
    ],
    ids=["no end", "error", "status", "other finish reason"],
)
def test_an_incomplete_or_failed_response_is_a_violation(spoil: Callable[[RequestLog], None]) -> None:
    log = answered("a", "b")
    spoil(log)
    assert check(run(log)).violations


def test_a_long_gap_during_a_fault_is_late() -> None:
    log = answered("a", "b")
    log.arrivals_s = [1.0, 4.0]
    assert check(run(log)).late == "over 2.0 s"
