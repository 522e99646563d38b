"""`tidegate train`: runs recipes here, and hands them to the trainers."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli import data_dir_option
from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from rich.console import Console

    from trainer.jobs.job import Job
    from trainer.jobs.queue import JobQueue
    from trainer.recipe import Recipe
    from trainer.run import Order, Outcome, Registrar

app = typer.Typer(help="Training: run a recipe here, or hand it to the trainers.", no_args_is_help=True)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; trainer/recipes has examples")]


@app.command()
def run(
    recipe: RecipeFile,
    output: Annotated[Path | None, typer.Option(help="folder of the run; the same one resumes it")] = None,
    publish: Annotated[bool, typer.Option(help="publish as the recipe says")] = True,
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    json: data_dir_option.Json = False,
) -> None:
    """Train here and now. Stopped and called again, it goes on from its last checkpoint."""
    from services.cli.views.output import err, out, print_json
    from trainer.run import Order

    read = _recipe(recipe)
    if not publish:
        read = read.model_copy(update={"publish": None})
    training = data_dir.absolute() / "training"
    folder = output.absolute() if output else training / "runs" / recipe.stem
    outcome = _run(Order(read, folder, training / "base"), _registrar(data_dir), err())
    published = [f"{manifest.model}@{manifest.version}" for manifest in outcome.published]
    if json:
        losses = {"held_out_loss_before": outcome.held_out_before, "held_out_loss": outcome.held_out_after}
        print_json({"output": str(folder), **losses, "published": published})
        return
    out().print(f"held-out loss {outcome.held_out_before:.3f} -> {outcome.held_out_after:.3f}")
    out().print(f"loss curve: {folder / 'loss.png'}", markup=False)
    for name in published:
        out().print(f"published {name}")


@app.command()
def submit(
    recipe: RecipeFile, data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT, json: data_dir_option.Json = False
) -> None:
    """Put a recipe and its data into the trainers' queue."""
    from services.cli.views.output import out, print_json
    from trainer.chats import WrongData, load
    from trainer.jobs.queue import QueueFull

    read = _recipe(recipe)
    try:
        load(read.data)
        with _queue(data_dir) as queue:
            # The data travels with the job; where it lay here means nothing there.
            sent = read.model_copy(update={"data": Path("data.jsonl")})
            job = queue.submit(sent.model_dump_json(), read.data.read_text())
    except (WrongData, ValueError) as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    except QueueFull as error:
        raise CommandFailed(str(error)) from None
    print_json(_document(job)) if json else out().print(f"{job.id} is queued; see it with `tidegate train jobs`")


@app.command()
def jobs(data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT, json: data_dir_option.Json = False) -> None:
    """List the jobs, newest first."""
    from services.cli.views.output import print_json, print_table

    with _queue(data_dir) as queue:
        found = queue.list()
    if json:
        print_json([_document(job) for job in found])
    else:
        print_table(("job", "state", "step", "loss", "attempts", "what"), [_row(job) for job in found])


@app.command()
def cancel(
    job: Annotated[str, typer.Argument(help="id of the job")],
    data_dir: data_dir_option.DataDir = data_dir_option.DEFAULT,
    json: data_dir_option.Json = False,
) -> None:
    """Cancel a job; one that runs ends within a few seconds."""
    from services.cli.views.output import out, print_json
    from trainer.jobs.queue import UnknownJob

    try:
        with _queue(data_dir) as queue:
            found = queue.cancel(job)
    except UnknownJob:
        raise CommandFailed(f"there is no job {job}: `tidegate train jobs` lists them", status=WRONG_USE) from None
    print_json(_document(found)) if json else out().print(f"{job}: {_state(found)}")


def _run(order: "Order", registrar: "Registrar", console: "Console") -> "Outcome":
    from services.shared.clock import SystemClock
    from services.shared.manifests import WrongManifest
    from services.shared.objectstore import StoreError
    from services.shared.registry import UnknownVersion
    from services.shared.staging import RefusedModel
    from trainer.announce import NotAnnounced
    from trainer.chats import WrongData
    from trainer.checkpoint import WrongCheckpoint
    from trainer.checksums import BrokenSeal
    from trainer.loss_curve import Diverged
    from trainer.record import AnotherRun
    from trainer.run import InUse, Run

    with RunProgress(console) as watcher:
        try:
            return Run(order, registrar, watcher, clock=SystemClock(), random=Random()).make()  # noqa: S311
        except (WrongData, AnotherRun, BrokenSeal, InUse, UnknownVersion) as error:
            raise CommandFailed(str(error), status=WRONG_USE) from None
        except (RefusedModel, WrongManifest, WrongCheckpoint, Diverged, NotAnnounced) as error:
            raise CommandFailed(str(error)) from None
        except StoreError as error:
            raise CommandFailed(f"the object store failed: {error}; call again to go on") from None


class RunProgress:
    """A line for what happens now, and a bar for the steps or the bytes."""

    def __init__(self, console: "Console") -> None:
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[figure]}"))
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console)
        self._task = self._progress.add_task("starting", total=None, figure="")

    def __enter__(self) -> "RunProgress":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def phase(self, name: str) -> None:
        self._progress.reset(self._task, total=None, description=name, figure="")
        self._progress.console.print(name, style="dim")

    def step(self, done: int, total: int, loss: float) -> None:
        self._progress.update(self._task, completed=done, total=total, figure=f"{done}/{total}  loss {loss:.3f}")

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        self._progress.update(self._task, total=total_bytes)
        return lambda moved: self._progress.advance(self._task, moved)


def _recipe(file: Path) -> "Recipe":
    from services.shared.settings import WrongSettings
    from trainer.recipe import load

    try:
        return load(file)
    except WrongSettings as error:
        raise CommandFailed(f"wrong recipe:\n{error}", status=WRONG_USE) from None


def _registrar(data_dir: Path) -> "Registrar":
    """Of the environment where it names a store, else of the local cluster."""
    from services.cli.registry_access import signing_key, store_settings
    from services.cli.running_cluster import running_cluster
    from services.shared.objectstore import connect
    from services.shared.settings import WrongSettings, read
    from services.shared.signing import TrustedKeys
    from trainer.run import Registrar
    from trainer.settings import PublisherSettings

    if "TIDEGATE_S3_ENDPOINT" in os.environ:
        try:
            return read(PublisherSettings).registrar()
        except WrongSettings as error:
            raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    key = signing_key(data_dir)
    routers = running_cluster(data_dir).addresses.routers
    return Registrar(connect(store_settings(data_dir)), key, TrustedKeys([key.public]), routers)


@contextmanager
def _queue(data_dir: Path) -> "Iterator[JobQueue]":
    """That of TIDEGATE_DATABASE_URL, else the local cluster's. Raises CommandFailed."""
    from sqlalchemy.exc import SQLAlchemyError

    from services.shared.clock import SystemClock
    from services.shared.settings import WrongSettings
    from trainer.jobs.queue import JobQueue, connect

    try:
        engine = connect(os.environ.get("TIDEGATE_DATABASE_URL") or _local_database(data_dir))
        try:
            yield JobQueue(engine, SystemClock())
        finally:
            engine.dispose()
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    except SQLAlchemyError as error:
        raise CommandFailed(f"the job queue cannot be used: {type(error).__name__}") from None


def _local_database(data_dir: Path) -> str:
    from services.cli.running_cluster import running_cluster
    from services.local.data_folder import DataFolder

    running_cluster(data_dir)
    return DataFolder.at(data_dir).jobs_url.read_text()


def _state(job: "Job") -> str:
    return "cancelling" if job.cancelling and not job.has_ended else job.state


def _row(job: "Job") -> tuple[object, ...]:
    loss = f"{job.loss:.3f}" if job.loss is not None else "-"
    what = job.error or ", ".join(job.published) or job.phase
    return job.id, _state(job), f"{job.step}/{job.steps}" if job.steps else "-", loss, job.attempts, what


def _document(job: "Job") -> dict[str, Any]:
    from dataclasses import asdict

    return {key: value for key, value in asdict(job).items() if key != "recipe"}
