import pytest

from services.gateway.generation.progress import Progress
from services.gateway.generation.retry import (
    MAX_FAILURES,
    MAX_HANDOVERS,
    MAX_LOST_BEFORE_START,
    FailureCause,
    Retries,
    WorkerFailed,
)
from services.shared.errors import EngineFailed, Overloaded
from tidegate.worker.v1 import worker_pb2

NOTHING = Progress(choices_expected=1)


def failure(worker: str = "w1", cause: FailureCause = FailureCause.OTHER, *, gained: bool = False) -> WorkerFailed:
    return WorkerFailed("overloaded", cause, worker_id=worker, gained=gained)


def begun(*, resumable: bool) -> Progress:
    progress = Progress(choices_expected=1)
    progress.start(worker_pb2.Started(model_version="v1", prompt_tokens=3, resumable=resumable))
    progress.take(worker_pb2.Delta(token_ids=[7], text_end=1))
    return progress


def test_next_attempt_goes_elsewhere() -> None:
    """test_messages.py has what the router is told of it."""
    retries = Retries()
    assert retries.attempt == 1
    retries.after(failure("w1", FailureCause.ENGINE_DIED), NOTHING)
    assert (retries.attempt, retries.excluded, retries.engine_deaths) == (2, ["w1"], 1)


def test_a_worker_that_was_only_preempted_may_have_it_again() -> None:
    retries = Retries()
    retries.after(failure("w1", FailureCause.PREEMPTED), NOTHING)
    assert retries.excluded == []


def test_failures_in_a_row_are_bounded() -> None:
    retries = Retries()
    for _ in range(MAX_FAILURES - 1):
        retries.after(failure(), NOTHING)
    with pytest.raises(Overloaded):
        retries.after(failure(), NOTHING)
    with pytest.raises(EngineFailed):
        retries.after(failure(cause=FailureCause.ENGINE_DIED), NOTHING)


def test_a_worker_that_cannot_be_connected_to_is_tried_again_after_pauses() -> None:
    """The router grants it again where there is no other."""
    retries, pauses = Retries(), []
    for _ in range(MAX_LOST_BEFORE_START - 1):
        retries.after(failure("w1", FailureCause.UNREACHABLE), NOTHING)
        pauses.append(retries.pause_s)
    assert pauses == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]
    with pytest.raises(Overloaded):
        retries.after(failure("w1", FailureCause.UNREACHABLE), NOTHING)


def test_another_worker_is_tried_at_once() -> None:
    retries = Retries()
    for worker in ("w1", "w2", "w3"):
        retries.after(failure(worker, FailureCause.UNREACHABLE), NOTHING)
        assert retries.pause_s == 0.0
    retries.after(failure("w1", FailureCause.UNREACHABLE), NOTHING)
    assert retries.pause_s > 0
    retries.after(failure("w1", FailureCause.LOST_BEFORE_START), NOTHING)
    assert retries.pause_s == 0.0


def test_an_attempt_that_gained_tokens_clears_the_record() -> None:
    """However often workers are lost under a long answer: one that grows is not the cause."""
    retries = Retries()
    for worker in range(50):
        retries.after(failure(f"w{worker}", FailureCause.ENGINE_DIED, gained=True), begun(resumable=True))
        assert (retries.engine_deaths, retries.excluded) == (1, [f"w{worker}"])
    retries.after(failure("w50", FailureCause.ENGINE_DIED), begun(resumable=True))
    assert retries.engine_deaths == 2, "died twice where it stands: the router takes it for the cause"


def test_workers_lost_before_the_start_count_against_a_request_only_after_many() -> None:
    """They froze before the request was in their engine. Yet a request might be what freezes them all."""
    retries = Retries()
    for worker in range(MAX_LOST_BEFORE_START - 1):
        retries.after(failure(f"w{worker}", FailureCause.LOST_BEFORE_START), begun(resumable=True))
    assert retries.failures == 0
    with pytest.raises(Overloaded):
        retries.after(failure("last", FailureCause.LOST_BEFORE_START), begun(resumable=True))


def test_workers_that_leave_are_no_failures() -> None:
    retries = Retries()
    for _ in range(MAX_HANDOVERS - 1):
        retries.after(failure(cause=FailureCause.HANDED_OVER), begun(resumable=True))
    with pytest.raises(Overloaded):
        retries.after(failure(cause=FailureCause.HANDED_OVER), begun(resumable=True))


def test_what_cannot_be_continued_exactly_ends_in_an_error() -> None:
    with pytest.raises(EngineFailed, match="no other can continue exactly"):
        Retries().after(failure(), begun(resumable=False))
