"""Jobs are run once at a time, never lost and never for ever: the queue's contract on SQLite and on PostgreSQL."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Engine, insert, select, text

from tests.support.clock import ManualClock
from tests.support.postgres import Postgres
from trainer.jobs import log
from trainer.jobs import queue as module
from trainer.jobs.database import connect, engine_of, migrate
from trainer.jobs.job import Failure, Lease, Progress
from trainer.jobs.queue import CannotRetry, JobQueue, QueueFull, Terms, UnknownJob
from trainer.jobs.table import jobs, metadata


class Clock(ManualClock):
    def pass_(self, seconds: float) -> None:
        self._now += seconds

    def wall(self) -> float:
        return 1_000_000.0 + self.monotonic()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.sqlite3'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


@pytest.fixture
def queue(url: str, clock: Clock) -> Iterator[JobQueue]:
    engine = connect(url)
    yield JobQueue(engine, clock, Terms(lease_s=60, max_attempts=3))
    engine.dispose()


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


def test_the_log_of_a_job_is_its_owner_s_to_write_and_has_a_bound(
    queue: JobQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "MAX_LINES", 4)
    name = queue.submit("{}", "").id
    lost = taken(queue, "one")
    queue.heartbeat(lost, Progress(), ["loading", "training"])
    clock.pass_(100)
    lease = taken(queue, "two")
    assert queue.heartbeat(lost, Progress(), ["too late"]) == "lost"
    queue.heartbeat(lease, Progress(), ["training from step 2"])
    assert [(line.number, line.text) for line in queue.log(name, 1)] == [(2, "training"), (3, "training from step 2")]
    queue.heartbeat(lease, Progress(), ["a", "b"])
    queue.heartbeat(lease, Progress(), ["c"])
    assert [line.text for line in queue.log(name, 3)] == [log.LAST]
    with pytest.raises(UnknownJob):
        queue.log("job-none")


def test_logs_of_jobs_that_are_not_listed_any_more_go(
    queue: JobQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LISTED", 2)
    names = []
    for _ in range(3):
        names.append(queue.submit("{}", "").id)
        queue.heartbeat(taken(queue), Progress(), ["a line"])
        clock.pass_(1)
    assert [len(queue.log(name)) for name in names] == [0, 1, 1]


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


def test_a_lease_that_was_given_back_says_no_more_about_the_next_ones_job(queue: JobQueue, clock: Clock) -> None:
    queue.submit("{}", "")
    left = taken(queue, "one")
    assert queue.give_back(left)
    holder = taken(queue, "two")
    assert holder.attempt == left.attempt
    clock.pass_(50)
    assert queue.heartbeat(left, Progress(9, 9)) == "lost"
    assert not queue.succeed(left, ("tuned@1",))
    clock.pass_(11)
    assert taken(queue, "three").job.step == 0


@pytest.mark.parametrize("end", ["fails", "is given back"])
def test_a_cancelled_job_that_goes_back_has_ended(queue: JobQueue, end: str) -> None:
    name = queue.submit("{}", "").id
    lease = taken(queue)
    queue.cancel(name)
    assert queue.fail(lease, Failure("no", again=True)) if end == "fails" else queue.give_back(lease)
    job = queue.get(name)
    assert job.state == "cancelled"
    assert job.ended is not None
    assert queue.lease("two") is None


def test_the_data_of_a_job_goes_when_it_has_succeeded(queue: JobQueue, clock: Clock) -> None:
    for number in range(4):
        queue.submit("{}", f"data {number}")
        clock.pass_(1)
    first, second, third = (taken(queue, owner) for owner in ("one", "two", "three"))
    queue.succeed(first, ())
    queue.fail(second, Failure("wrong", again=False))
    assert queue.give_back(third)
    assert taken(queue, "again").data == "data 2"
    queue.cancel(queue.list()[0].id)
    left = left_data(queue)
    assert (left["running"], left["succeeded"]) == ("data 2", "")
    assert left["failed"]
    assert left["cancelled"]


def test_a_job_that_failed_or_was_cancelled_is_tried_again(queue: JobQueue, clock: Clock) -> None:
    name = queue.submit('{"data": "data.jsonl"}', "its data").id
    with pytest.raises(CannotRetry, match="is queued"):
        queue.retry(name)
    queue.fail(taken(queue), Failure("no such model", again=False))
    again = queue.retry(name)
    assert (again.state, again.attempts, again.error, again.ended) == ("queued", 0, None, None)
    assert taken(queue, "two").data == "its data"
    queue.cancel(name)
    clock.pass_(100)
    assert queue.lease("three") is None  # the second trainer vanished
    assert queue.retry(name).cancelling is False
    queue.succeed(taken(queue), ())
    with pytest.raises(CannotRetry, match="is succeeded"):
        queue.retry(name)


def test_the_data_of_the_last_jobs_without_success_is_kept(
    queue: JobQueue, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEPT_DATA", 1)
    names = []
    for recipe in ('{"data": "data.jsonl"}', '{"data": "s3://chats"}', '{"data": "data.jsonl"}'):
        names.append(queue.submit(recipe, "its data").id)
        queue.fail(taken(queue), Failure("no such model", again=False))
        clock.pass_(1)
    queue.submit("{}", "")
    with pytest.raises(CannotRetry, match="is not kept any more: submit its recipe again"):
        queue.retry(names[0])
    assert [queue.retry(name).state for name in names[1:]] == ["queued", "queued"]


def left_data(queue: JobQueue) -> dict[str, str]:
    """By state of the job."""
    with queue._engine.connect() as connection:
        return {row.state: row.data for row in connection.execute(select(jobs.c.state, jobs.c.data))}


def at_once(count: int, target: Any, *arguments: Any) -> None:
    threads = [threading.Thread(target=target, args=arguments) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)


def test_trainers_that_start_at_once_make_the_table_once(url: str) -> None:
    made: list[Engine] = []
    barrier = threading.Barrier(6)

    def start() -> None:
        barrier.wait()
        made.append(connect(url))

    at_once(6, start)
    assert len(made) == 6
    for engine in made:
        engine.dispose()


def test_trainers_at_once_never_take_one_job(url: str, clock: Clock) -> None:
    engines = [connect(url) for _ in range(4)]
    for _ in range(20):
        JobQueue(engines[0], clock).submit("{}", "")
    taken_ids: list[str] = []
    waiting = list(engines)
    at_once(4, lambda: take_all(waiting.pop(), clock, taken_ids))
    assert len(taken_ids) == len(set(taken_ids)) == 20
    for engine in engines:
        engine.dispose()


def take_all(engine: Engine, clock: Clock, taken_ids: list[str]) -> None:
    """As a trainer does: one that finds nothing looks again, since others may hold what it looked at."""
    queue = JobQueue(engine, clock)
    while queue.counts().get("queued"):
        if lease := queue.lease(threading.current_thread().name):
            taken_ids.append(lease.job.id)


def test_a_job_cancelled_while_trainers_pass_it_around_ends(url: str, clock: Clock) -> None:
    """It may be queued at one moment and running at the next: no cancel may fall between."""
    engines = [connect(url) for _ in range(2)]
    trainer, person = (JobQueue(engine, clock) for engine in engines)
    stop = threading.Event()

    def pass_around() -> None:
        while not stop.is_set():
            if lease := trainer.lease("one"):
                trainer.give_back(lease)

    passing = threading.Thread(target=pass_around)
    passing.start()
    try:
        for _ in range(20):
            name = person.submit("{}", "").id
            cancelled = person.cancel(name)
            assert cancelled.cancelling
            assert cancelled.state in ("cancelled", "running")
    finally:
        stop.set()
        passing.join(60)
    assert set(person.counts()) == {"cancelled"}
    for engine in engines:
        engine.dispose()


def test_migrations_make_what_the_table_says(url: str) -> None:
    engine = connect(url)
    with engine.connect() as connection:
        options = {"version_table": "trainer_schema", "compare_type": True}
        context = MigrationContext.configure(connection, opts=options)
        assert compare_metadata(context, metadata) == []
        assert context.get_current_revision() == "0002"
    engine.dispose()


def test_a_table_that_was_made_without_migrations_is_taken_over_with_its_jobs(url: str, clock: Clock) -> None:
    engine = engine_of(url)
    metadata.create_all(engine, tables=[jobs])
    row = {"id": "job-1", "state": "queued", "recipe": "{}", "data": "some data", "submitted": 1, "not_before": 1}
    with engine.begin() as connection:
        connection.execute(insert(jobs).values(row))
    migrate(engine)
    assert taken(JobQueue(engine, clock)).job.id == "job-1"
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "trainer_schema"})
        assert context.get_current_revision() == "0002"
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_trainers_that_start_together_migrate_once(url: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        engines = list(pool.map(lambda _: connect(url), range(4)))
    for engine in engines:
        with engine.connect() as connection:
            assert connection.scalars(text("SELECT version_num FROM trainer_schema")).all() == ["0002"]
        engine.dispose()
