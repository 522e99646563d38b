"""Jobs are run once at a time, never lost and never for ever; SQLite in memory stands for every database."""

import threading
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine
from sqlalchemy.pool import StaticPool

from services.shared.settings import WrongSettings
from tests.support.clock import ManualClock
from trainer.jobs import queue as module
from trainer.jobs.job import Failure, Lease, Progress
from trainer.jobs.queue import JobQueue, QueueFull, Terms, UnknownJob, connect, metadata


class Clock(ManualClock):
    def pass_(self, seconds: float) -> None:
        self._now += seconds

    def wall(self) -> float:
        return 1_000_000.0 + self.monotonic()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(clock: Clock) -> JobQueue:
    engine = create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})
    metadata.create_all(engine)
    return JobQueue(engine, clock, Terms(lease_s=60, max_attempts=3))


def taken(queue: JobQueue, owner: str = "one") -> Lease:
    lease = queue.lease(owner)
    assert lease is not None
    return lease


def test_jobs_are_taken_in_order_and_once(queue: JobQueue, clock: Clock) -> None:
    names = []
    for number in range(3):
        names.append(queue.submit("{}", f"data {number}").id)
        clock.pass_(1)
    leases = [taken(queue, owner) for owner in ("one", "two", "three")]
    assert [(lease.job.id, lease.data, lease.job.state) for lease in leases] == [
        (name, f"data {number}", "running") for number, name in enumerate(names)
    ]
    assert queue.lease("four") is None
    assert queue.counts() == {"running": 3}
    assert [job.id for job in queue.list()] == names[::-1]


def test_a_lease_holds_as_long_as_it_is_renewed(queue: JobQueue, clock: Clock) -> None:
    queue.submit("{}", "")
    lease = taken(queue)
    for _ in range(3):
        clock.pass_(50)
        assert queue.heartbeat(lease, Progress(3, 10, 1.5, "training")) == "go on"
        assert queue.lease("two") is None
    seen = queue.get(lease.job.id)
    assert (seen.step, seen.steps, seen.loss, seen.phase, seen.owner) == (3, 10, 1.5, "training", "one")


def test_a_vanished_trainers_job_goes_to_another_and_the_first_may_say_no_more(queue: JobQueue, clock: Clock) -> None:
    queue.submit("{}", "")
    lost = taken(queue, "one")
    clock.pass_(61)
    found = taken(queue, "two")
    assert (found.job.id, found.attempt) == (lost.job.id, 2)
    assert queue.heartbeat(lost, Progress()) == "lost"
    assert not queue.succeed(lost, ("tuned@1",))
    assert not queue.fail(lost, Failure("late", again=True))
    assert not queue.give_back(lost)
    assert queue.succeed(found, ("tuned@2",))
    assert queue.get(found.job.id).published == ("tuned@2",)


def test_trainers_that_vanish_again_and_again_end_the_job(queue: JobQueue, clock: Clock) -> None:
    name = queue.submit("{}", "").id
    for _ in range(3):
        taken(queue)
        clock.pass_(61)
    assert queue.lease("one") is None
    assert queue.get(name).state == "failed"
    assert "attempt 3, the last" in str(queue.get(name).error)


def test_a_failure_is_tried_again_later_but_not_for_ever(queue: JobQueue, clock: Clock) -> None:
    name = queue.submit("{}", "").id
    for attempt in (1, 2):
        assert queue.fail(taken(queue), Failure(f"failed {attempt}", again=True))
        assert queue.get(name).state == "queued"
        assert queue.lease("one") is None
        clock.pass_(module.RETRY_AFTER_S * attempt)
    queue.fail(taken(queue), Failure("failed 3", again=True))
    assert (queue.get(name).state, queue.get(name).error, queue.get(name).attempts) == ("failed", "failed 3", 3)


def test_a_failure_that_would_come_again_is_the_last(queue: JobQueue) -> None:
    name = queue.submit("{}", "").id
    queue.fail(taken(queue), Failure("wrong data", again=False))
    assert (queue.get(name).state, queue.get(name).attempts) == ("failed", 1)


def test_leaving_costs_no_attempt(queue: JobQueue) -> None:
    queue.submit("{}", "")
    for _ in range(10):
        assert queue.give_back(taken(queue))
    assert taken(queue).attempt == 1


def test_cancelling(queue: JobQueue, clock: Clock) -> None:
    waiting = queue.submit("{}", "")
    assert queue.cancel(waiting.id).state == "cancelled"
    assert queue.lease("one") is None
    queue.submit("{}", "")
    lease = taken(queue)
    assert queue.cancel(lease.job.id).state == "running"
    assert queue.heartbeat(lease, Progress()) == "cancel"
    assert queue.cancelled(lease)
    assert queue.cancel(lease.job.id).state == "cancelled"
    with pytest.raises(UnknownJob):
        queue.cancel("job-none")


def test_a_cancelled_job_whose_trainer_vanished_is_not_taken_up_again(queue: JobQueue, clock: Clock) -> None:
    queue.submit("{}", "")
    lease = taken(queue)
    queue.cancel(lease.job.id)
    clock.pass_(61)
    assert queue.lease("two") is None
    assert queue.get(lease.job.id).state == "cancelled"


def test_the_queue_is_bounded(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_QUEUED", 2)
    monkeypatch.setattr(module, "MAX_DATA_BYTES", 10)
    queue.submit("{}", "")
    with pytest.raises(ValueError, match="more than 10 bytes"):
        queue.submit("{}", "x" * 11)
    queue.submit("{}", "")
    with pytest.raises(QueueFull):
        queue.submit("{}", "")


def test_two_trainers_at_once_never_take_one_job(tmp_path: Path, clock: Clock) -> None:
    engines = [connect(f"sqlite:///{tmp_path / 'jobs.sqlite3'}") for _ in range(4)]
    for _ in range(20):
        JobQueue(engines[0], clock).submit("{}", "")
    taken_ids: list[str] = []
    threads = [threading.Thread(target=take_all, args=(engine, clock, taken_ids)) for engine in engines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(taken_ids) == len(set(taken_ids)) == 20
    for engine in engines:
        engine.dispose()


def take_all(engine: Engine, clock: Clock, taken_ids: list[str]) -> None:
    queue = JobQueue(engine, clock)
    while lease := queue.lease(threading.current_thread().name):
        taken_ids.append(lease.job.id)


@pytest.mark.parametrize("url", ["rubbish", "nonsense://host/secret-word"])
def test_a_wrong_url_is_told_without_its_secrets(url: str) -> None:
    with pytest.raises(WrongSettings, match="TIDEGATE_DATABASE_URL") as told:
        connect(url)
    assert "secret-word" not in str(told.value)
