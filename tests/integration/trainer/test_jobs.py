"""The trainer's loop over a real database, with small processes in place of training, and once with the real thing."""

import asyncio
import math
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psutil
import pytest
from sqlalchemy.exc import OperationalError

from services.shared.clock import SystemClock
from services.shared.objectstore import connect as connect_store
from services.shared.registry import Reference, Registry
from tests.integration.trainer import tiny
from tests.support.postgres import running_postgres
from tests.support.s3 import running_s3
from tests.support.signing import KEY, TRUSTED
from tests.support.wait import wait_until
from trainer.app import TrainerApp
from trainer.jobs.database import connect
from trainer.jobs.job import Job, Lease
from trainer.jobs.queue import JobQueue, Terms
from trainer.settings import TrainerSettings
from trainer.step_figures import StepFigures

STEPS = 'import sys, time; print(\'{"event": "step", "done": 1, "total": 9, "loss": 2.5}\', flush=True)\n'
ENDLESS = STEPS + "sys.stdin.read()"
WELL = STEPS + 'print(\'{"event": "succeeded", "published": ["tuned@1"]}\')'
WRONG = STEPS + 'print(\'{"event": "failed", "reason": "no such model", "again": false}\'); sys.exit(1)'
CRASH = "import os; os.abort()"
RUBBISH = STEPS + "print('hello', flush=True); sys.stdin.read()"
UNENDING = "print('x' * 1_000_000, flush=True); import sys; sys.stdin.read()"

StartTrainer = Callable[..., "asyncio.Future[TrainerApp]"]


@pytest.fixture
async def queue(tmp_path: Path) -> AsyncIterator[JobQueue]:
    engine = connect(f"sqlite:///{tmp_path / 'jobs.sqlite3'}")
    yield JobQueue(engine, SystemClock(), Terms(lease_s=1, max_attempts=1))
    engine.dispose()


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[StartTrainer]:
    """Starts trainers whose jobs are the given script; keywords are settings."""
    running: list[TrainerApp] = []
    (tmp_path / "key").write_text(KEY.to_pem())

    async def trainer(script: str | None, **given: object) -> TrainerApp:
        settings = {
            "http_listen": "127.0.0.1:0",
            "database_url": f"sqlite:///{tmp_path / 'jobs.sqlite3'}",
            "work_dir": tmp_path / "work",
            "signing_key_file": tmp_path / "key",
            "s3_endpoint": "http://127.0.0.1:9",
            "s3_access_key": "none",
            "s3_secret_key": "none",
            "poll_s": 0.05,
            "lease_s": 1,
            "max_attempts": 1,
        }
        argv = (sys.executable, "-c", script) if script else ()
        app = TrainerApp(TrainerSettings.model_validate(settings | given), argv=argv)
        running.append(app)
        await app.start()
        return app

    yield trainer  # type: ignore[misc]
    for app in running:
        await app.stop()


def processes(folder: Path) -> list[psutil.Process]:
    """That run jobs."""
    return [child for child in psutil.Process().children() if str(folder / "work") in words(child)]


def words(process: psutil.Process) -> str:
    """Its command line; of a child of another test that ended and was not waited for, nothing."""
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


async def until(queue: JobQueue, name: str, wanted: Callable[[Job], bool], timeout: float = 30) -> Job:
    await wait_until(lambda: wanted(queue.get(name)), description=f"{name} gets there", timeout=timeout)
    return queue.get(name)


FIGURES = StepFigures(
    learning_rate=0.001, grad_norm=1.5, tokens_per_second=640.0, memory_bytes=4096, flops_per_second=5e11, devices=2
)


async def test_the_figures_of_the_job_that_runs_are_metrics(queue: JobQueue, start: StartTrainer) -> None:
    told = "import pathlib, sys; run = pathlib.Path(sys.argv[1], 'run'); run.mkdir()\n"
    told += f"(run / 'figures.json').write_text({FIGURES.model_dump_json()!r})\n"
    trainer = await start(told + ENDLESS, peak_tflops=1.0)
    wanted = {
        "learning_rate": 0.001,
        "gradient_norm": 1.5,
        "tokens_per_second": 640.0,
        "memory_bytes": 4096.0,
        "mfu_ratio": 0.25,
    }
    async with httpx.AsyncClient(base_url=f"http://{trainer.http_address}") as client:

        async def shown() -> dict[str, float]:
            lines = (await client.get("/metrics")).text.splitlines()
            named = dict(line.rsplit(" ", 1) for line in lines if line.startswith("tidegate_trainer_"))
            return {name: float(named[f"tidegate_trainer_{name}"]) for name in wanted}

        async def are_shown() -> bool:
            return await shown() == wanted

        assert all(math.isnan(value) for value in (await shown()).values())
        queue.submit("{}", "")
        await wait_until(are_shown, description="the figures are shown")


@pytest.mark.parametrize(
    ("script", "state", "error"),
    [
        (WELL, "succeeded", None),
        (WRONG, "failed", "no such model"),
        (CRASH, "failed", "ended with status -6"),
        (RUBBISH, "failed", "what is no event"),
        (UNENDING, "failed", "what is no event"),
    ],
    ids=["well", "wrong", "crash", "rubbish", "a line without an end"],
)
async def test_a_job_ends_as_its_process_does(
    queue: JobQueue, start: StartTrainer, script: str, state: str, error: str | None
) -> None:
    trainer = await start(script)
    job = await until(queue, queue.submit("{}", "").id, lambda job: job.has_ended)
    assert job.state == state
    assert (error or "") in (job.error or "")
    assert job.published == (("tuned@1",) if state == "succeeded" else ())
    said = [line.text for line in queue.log(job.id)]
    assert said[:-1] == ([] if script in (CRASH, UNENDING) else ["step 1 of 9: loss 2.5000"])
    assert said[-1] == ("published tuned@1" if state == "succeeded" else f"failed: {job.error}")
    async with httpx.AsyncClient(base_url=f"http://{trainer.http_address}") as client:
        assert (await client.get("/readyz")).status_code == (await client.get("/livez")).status_code == 200
        metrics = (await client.get("/metrics")).text
    assert f'tidegate_trainer_runs_total{{outcome="{state}"}} 1.0' in metrics


async def test_a_running_job_shows_its_progress_and_can_be_cancelled(
    queue: JobQueue, start: StartTrainer, tmp_path: Path
) -> None:
    await start(ENDLESS)
    name = queue.submit("{}", "").id
    job = await until(queue, name, lambda job: job.step == 1)
    assert (job.state, job.steps, job.loss) == ("running", 9, 2.5)
    (process,) = processes(tmp_path)
    queue.cancel(name)
    assert (await until(queue, name, lambda job: job.has_ended)).state == "cancelled"
    assert not process.is_running()


async def test_a_trainer_that_stops_gives_its_job_to_the_next(
    queue: JobQueue, start: StartTrainer, tmp_path: Path
) -> None:
    first = await start(ENDLESS, trainer_id="first")
    name = queue.submit("{}", "").id
    await until(queue, name, lambda job: job.owner == "first")
    await first.stop()
    assert queue.get(name).state == "queued"
    assert not processes(tmp_path)
    await start(WELL, trainer_id="second")
    job = await until(queue, name, lambda job: job.has_ended)
    assert (job.state, job.attempts) == ("succeeded", 1)


async def test_a_trainer_without_room_on_its_disk_fails_the_job_and_lives(
    queue: JobQueue, start: StartTrainer, tmp_path: Path
) -> None:
    trainer = await start(WELL, work_dir=tmp_path / "full" / "work")
    (tmp_path / "full").touch()  # stands for the full disk: no folder can be made
    job = await until(queue, queue.submit("{}", "").id, lambda job: job.has_ended)
    assert (job.state, trainer.live()) == ("failed", None)
    assert "could not start it" in (job.error or "")


async def test_a_database_that_is_away_when_a_job_ends_costs_it_nothing(
    queue: JobQueue, start: StartTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.jobs.runner.NOTE_PAUSE_S", 0.01)
    tries: list[Lease] = []
    succeed = JobQueue.succeed

    def away_at_first(self: JobQueue, lease: Lease, published: tuple[str, ...]) -> bool:
        tries.append(lease)
        if len(tries) < 3:
            raise OperationalError("UPDATE", {}, Exception("away"))
        return succeed(self, lease, published)

    monkeypatch.setattr(JobQueue, "succeed", away_at_first)
    await start(WELL)
    job = await until(queue, queue.submit("{}", "").id, lambda job: job.has_ended)
    assert (job.state, job.attempts, len(tries)) == ("succeeded", 1, 3)


async def test_only_the_latest_folders_of_ended_jobs_stay(queue: JobQueue, start: StartTrainer, tmp_path: Path) -> None:
    await start(WELL, kept_jobs=1)
    for _ in range(3):
        last = queue.submit("{}", "").id
        await until(queue, last, lambda job: job.has_ended)

    def names() -> list[str]:
        return [folder.name for folder in (tmp_path / "work").iterdir()]

    await wait_until(lambda: names() == [last], description="older folders are gone")


@pytest.mark.timeout(600)
async def test_training_that_is_killed_is_taken_up_again_and_publishes(
    queue: JobQueue, start: StartTrainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_s3(tmp_path) as store_settings:
        store = connect_store(store_settings)
        await tiny.publish_base(store, tiny.model(tmp_path / "tiny"))
        variables = {**store_settings.model_dump(), "signing_key_file": tmp_path / "key"}
        for name, value in variables.items():
            monkeypatch.setenv(f"TIDEGATE_{name.upper()}", str(value))
        data = tiny.chats(tmp_path / "chats.jsonl")
        recipe = tiny.recipe(data, steps=80, save_every=10, publish={"name": "tuned"})
        await start(None, max_attempts=2)
        job = queue.submit(recipe.model_dump_json(), data.read_text()).id
        curve = tmp_path / "work" / job / "run/metrics.jsonl"
        await wait_until(
            lambda: curve.exists() and curve.read_text().count("\n") > 12, description="steps", timeout=240
        )
        (process,) = processes(tmp_path)
        process.kill()
        ended = await until(queue, job, lambda job: job.has_ended, timeout=300)
        assert (ended.state, ended.attempts) == ("succeeded", 2), ended.error
        manifest = await Registry(store).resolve(Reference("tuned"))
        TRUSTED.check(manifest)
        assert (manifest.training_job, ended.published) == (job, (f"tuned@{manifest.version}",))


async def test_a_trainer_waits_for_a_database_that_is_still_starting(start: StartTrainer) -> None:
    with running_postgres() as server:
        url = server.new_database()
        server.stop()
        trainer = await start(WELL, database_url=url)
        async with httpx.AsyncClient(base_url=f"http://{trainer.http_address}") as client:

            async def says(status: int, reason: str) -> bool:
                answer = await client.get("/readyz")
                return answer.status_code == status and reason in answer.text

            await wait_until(lambda: says(503, "the database does not answer"), description="it says what it waits for")
            server.start()
            await wait_until(lambda: says(200, ""), description="it is ready", timeout=60)
        engine = connect(url)
        queue = JobQueue(engine, SystemClock())
        assert (await until(queue, queue.submit("{}", "").id, lambda job: job.has_ended)).state == "succeeded"
        engine.dispose()
