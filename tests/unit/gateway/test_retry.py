import pytest

from services.gateway.refusals import failed, rejected
from services.gateway.retry import MAX_ATTEMPTS, Retries, WorkerFailed
from services.shared.errors import ContextLengthExceeded, EngineFailed, InternalError, Overloaded, QueueFull
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


def failure(worker: str = "w1", **details: bool) -> WorkerFailed:
    return WorkerFailed("draining", worker_id=worker, **details)


def test_next_attempt_goes_to_the_head_and_elsewhere() -> None:
    retries = Retries()
    assert not retries.mark(router_pb2.Submit()).at_head
    retries.after(failure("w1", died=True), delivered=False)
    submit = retries.mark(router_pb2.Submit(attempt=retries.attempt))
    assert (submit.attempt, submit.at_head, list(submit.excluded_workers), submit.engine_deaths) == (2, True, ["w1"], 1)


def test_a_worker_that_yielded_may_have_it_again() -> None:
    retries = Retries()
    retries.after(failure("w1", yielded=True), delivered=False)
    assert retries.excluded == []


def test_attempts_are_bounded() -> None:
    retries = Retries()
    for _ in range(MAX_ATTEMPTS - 1):
        retries.after(failure(), delivered=False)
    with pytest.raises(Overloaded):
        retries.after(failure(), delivered=False)
    with pytest.raises(EngineFailed):
        retries.after(failure(died=True), delivered=False)


def test_what_the_client_has_seen_is_not_told_again() -> None:
    with pytest.raises(EngineFailed):
        Retries().after(failure(), delivered=True)


def test_failures_of_the_request_and_of_the_worker() -> None:
    asked_too_much = worker_pb2.Failure(kind=worker_pb2.FAILURE_KIND_CONTEXT_LENGTH, message="m", param="messages")
    error = failed(asked_too_much)
    assert isinstance(error, ContextLengthExceeded)
    assert error.param == "messages"
    for kind in (worker_pb2.FAILURE_KIND_DRAINING, worker_pb2.FAILURE_KIND_ENGINE, worker_pb2.FAILURE_KIND_UNSPECIFIED):
        assert failed(worker_pb2.Failure(kind=kind)) is None


def test_every_rejection_has_its_error() -> None:
    for reason in router_pb2.RejectReason.values():
        assert rejected(router_pb2.Reject(reason=reason)).wire.http >= 400
    full = rejected(router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL, retry_after_ms=2500))
    assert isinstance(full, QueueFull)
    assert full.retry_after_s == 2.5
    assert rejected(router_pb2.Reject(reason=router_pb2.REJECT_REASON_NO_WORKERS)).retry_after_s
    assert isinstance(rejected(router_pb2.Reject(reason=router_pb2.REJECT_REASON_STALE_ATTEMPT)), InternalError)
