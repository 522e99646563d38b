import pytest

from services.gateway.generation.progress import Progress
from services.gateway.generation.retry import MAX_FAILURES, MAX_HANDOVERS, MAX_SILENT, Retries, WorkerFailed
from services.shared.errors import EngineFailed, Overloaded
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

NOTHING = Progress(wanted=1)


def failure(worker: str = "w1", **details: bool) -> WorkerFailed:
    return WorkerFailed("overloaded", worker_id=worker, **details)


def begun(*, resumable: bool) -> Progress:
    progress = Progress(wanted=1)
    progress.start(worker_pb2.Started(model_version="v1", prompt_tokens=3, resumable=resumable))
    progress.take(worker_pb2.Delta(token_ids=[7], text_end=1))
    return progress


def test_next_attempt_goes_to_the_head_and_elsewhere() -> None:
    retries = Retries()
    assert not retries.mark(router_pb2.Submit()).at_head
    retries.after(failure("w1", died=True), NOTHING)
    submit = retries.mark(router_pb2.Submit(attempt=retries.attempt))
    assert (submit.attempt, submit.at_head, list(submit.excluded_workers), submit.engine_deaths) == (2, True, ["w1"], 1)


def test_a_worker_that_yielded_may_have_it_again() -> None:
    retries = Retries()
    retries.after(failure("w1", yielded=True), NOTHING)
    assert retries.excluded == []


def test_failures_in_a_row_are_bounded() -> None:
    retries = Retries()
    for _ in range(MAX_FAILURES - 1):
        retries.after(failure(), NOTHING)
    with pytest.raises(Overloaded):
        retries.after(failure(), NOTHING)
    with pytest.raises(EngineFailed):
        retries.after(failure(died=True), NOTHING)


def test_an_attempt_that_gained_tokens_clears_the_record() -> None:
    """However often workers are lost under a long answer: one that grows is not the cause."""
    retries = Retries()
    for worker in range(50):
        retries.after(failure(f"w{worker}", died=True, gained=True), begun(resumable=True))
        assert (retries.engine_deaths, retries.excluded) == (1, [f"w{worker}"])
    retries.after(failure("w50", died=True), begun(resumable=True))
    assert retries.engine_deaths == 2, "died twice where it stands: the router takes it for the cause"


def test_workers_that_were_silent_from_the_start_are_not_held_against_it_for_long() -> None:
    """Frozen before they had it in their engine. That a request froze them all cannot be ruled out for ever."""
    retries = Retries()
    for worker in range(MAX_SILENT - 1):
        retries.after(failure(f"w{worker}", silent=True), begun(resumable=True))
    assert retries.failures == 0
    with pytest.raises(Overloaded):
        retries.after(failure("last", silent=True), begun(resumable=True))


def test_workers_that_leave_are_no_failures() -> None:
    retries = Retries()
    for _ in range(MAX_HANDOVERS - 1):
        retries.after(failure(handed_over=True), begun(resumable=True))
    with pytest.raises(Overloaded):
        retries.after(failure(handed_over=True), begun(resumable=True))


def test_what_cannot_be_continued_exactly_ends_in_an_error() -> None:
    with pytest.raises(EngineFailed, match="no other can continue exactly"):
        Retries().after(failure(), begun(resumable=False))
