"""`tidegate train`: run a recipe here, or submit it to the trainers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.clients.data import local_data, stays
from services.cli.clients.registrar import gateway
from services.cli.clients.registrar import registrar as _registrar
from services.cli.commands.evaluate import evaluate
from services.cli.errors import WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, Changes, DataDir, Json

if TYPE_CHECKING:
    from rich.console import Console

    from trainer.jobs.queue import JobQueue
    from trainer.order import Order, Outcome
    from trainer.recipe import Recipe
    from trainer.registrar import Registrar
    from trainer.teacher import Endpoint

app = typer.Typer(help="Training: run a recipe here, or submit it to the trainers.", no_args_is_help=True)

RecipeFile = Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; trainer/recipes has examples")]


app.command()(evaluate)


@app.command()
def init(
    method: Annotated[
        str, typer.Argument(help="how the model is to be made, such as sft; docs/training.md has all")
    ] = "sft",
) -> None:
    """Write a recipe to start from, with every key explained."""
    from trainer.recipe_file import METHODS
    from trainer.starter import starter

    if method not in METHODS:
        raise CommandFailed(f"there is no method {method}: it is one of {', '.join(METHODS)}", status=WRONG_USE)
    typer.echo(starter(method), nl=False)


@app.command()
def run(
    recipe: RecipeFile,
    changes: Changes = None,
    output: Annotated[
        Path | None, typer.Option(help="folder of the run; give the same folder again to resume the run")
    ] = None,
    processes: Annotated[
        int, typer.Option(min=1, max=1024, help="processes that learn together, each on a GPU if there are any")
    ] = 1,
    publish: Annotated[bool, typer.Option(help="publish the model as the recipe says")] = True,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Train here. If it was stopped, call it again: it resumes from its last checkpoint.

    Exit status 3: the gate refused the result, and nothing was published.
    """
    from services.cli.views.evaluation import evaluation_document, print_evaluation
    from services.cli.views.output import err, out, print_json
    from trainer.learning_recipe import LearningRecipe
    from trainer.order import Order

    loaded = _recipe(recipe, changes)
    if processes > 1 and not isinstance(loaded, LearningRecipe):
        raise CommandFailed(f"--processes {processes}: method: {loaded.method} has one process", status=WRONG_USE)
    if not publish:
        loaded = loaded.model_copy(update={"publish": None})
    training = data_dir.absolute() / "training"
    folder = output.absolute() if output else training / "runs" / recipe.stem
    served = gateway(data_dir) if _is_served(loaded) else None
    teacher, compressor = _teacher(loaded, data_dir), _llm_compressor()
    order = Order(loaded, folder, training / "base", None, teacher, served, compressor, processes)
    outcome = _run(order, _registrar(data_dir), err())
    published = [f"{manifest.model}@{manifest.version}" for manifest in outcome.published]
    if json:
        losses = {"held_out_loss_before": outcome.held_out_before, "held_out_loss": outcome.held_out_after}
        losses |= outcome.figures
        print_json(
            {
                "output": str(folder),
                **losses,
                "examples": outcome.counts.model_dump(),
                "evaluation": evaluation_document(outcome.evaluated) if outcome.evaluated else None,
                "data": outcome.report.document() if outcome.report else None,
                "published": published,
            }
        )
        return
    if outcome.held_out_before is not None and outcome.held_out_after is not None:
        out().print(f"held-out loss {outcome.held_out_before:.3f} -> {outcome.held_out_after:.3f}")
    for name, figure in outcome.figures.items():
        out().print(f"{name.replace('_', ' ')} {figure:.3f}")
    if outcome.report or outcome.counts.learnt:
        out().print(f"{outcome.counts.learnt} examples learnt, {outcome.counts.held_out} held out")
    if outcome.evaluated:
        print_evaluation(outcome.evaluated)
    if (curve := folder / "loss.png").exists():
        out().print(f"loss curve: {curve}", markup=False)
    for name in published:
        out().print(f"published {name}")


@app.command()
def submit(
    recipe: RecipeFile, changes: Changes = None, data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False
) -> None:
    """Put a recipe with its data into the queue of training jobs."""
    from services.cli.views.output import out, print_json
    from services.cli.views.training_jobs import job_document
    from trainer.data import inner, reader
    from trainer.data.wrong import WrongData
    from trainer.jobs.queue import QueueFull

    loaded = _recipe(recipe, changes)
    if loaded.evaluate and isinstance(loaded.evaluate.text, Path):
        raise CommandFailed(
            "evaluate.text is a file of this machine, and only data travels with a job: put it into a bucket, and name"
            " s3://bucket/prefix",
            status=WRONG_USE,
        )
    try:
        data = ""
        if loaded.data is not None and not stays(loaded):
            with TemporaryDirectory(prefix="tidegate-data-") as scratch:
                samples = reader.load(local_data(loaded.data, Path(scratch)), loaded.format).samples
            # The data travels with the job, in the inner form. Its path on this machine means nothing to the trainer.
            data = "".join(inner.to_jsonl(samples))
            loaded = loaded.model_copy(update={"data": Path("data.jsonl"), "format": None})
        with _queue(data_dir) as queue:
            job = queue.submit(loaded.model_dump_json(), data)
    except (WrongData, ValueError) as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    except QueueFull as error:
        raise CommandFailed(str(error)) from None
    print_json(job_document(job)) if json else out().print(f"{job.id} is queued; see it with `tidegate train jobs`")


@app.command()
def jobs(data_dir: DataDir = DEFAULT_DATA_DIR, json: Json = False) -> None:
    """List the training jobs, newest first."""
    from services.cli.views.output import print_json, print_wide
    from services.cli.views.training_jobs import job_document, job_table

    with _queue(data_dir) as queue:
        found = queue.list()
    if json:
        print_json([job_document(job) for job in found])
    else:
        print_wide(job_table(found))


@app.command()
def cancel(
    job: Annotated[str, typer.Argument(help="id of the job")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Cancel a job. A running job ends within a few seconds."""
    from services.cli.views.output import out, print_json
    from services.cli.views.training_jobs import job_document, job_state

    with _queue_with(job, data_dir) as queue:
        found = queue.cancel(job)
    print_json(job_document(found)) if json else out().print(f"{job}: {job_state(found)}")


@app.command()
def retry(
    job: Annotated[str, typer.Argument(help="id of the job")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Put a job that failed or was cancelled into the queue again. Its run begins anew."""
    from services.cli.views.output import out, print_json
    from services.cli.views.training_jobs import job_document, job_state
    from trainer.jobs.queue import CannotRetry

    try:
        with _queue_with(job, data_dir) as queue:
            found = queue.retry(job)
    except CannotRetry as error:
        raise CommandFailed(str(error), status=WRONG_USE) from None
    print_json(job_document(found)) if json else out().print(f"{job}: {job_state(found)}")


@app.command()
def logs(
    job: Annotated[str, typer.Argument(help="id of the job")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="go on until the job has ended, or Ctrl-C")] = False,
    data_dir: DataDir = DEFAULT_DATA_DIR,
) -> None:
    """Show the log of a job, wherever it runs. A new line is there within a quarter of the trainer's lease."""
    from contextlib import suppress

    from services.cli.views.training_jobs import follow_log

    with _queue_with(job, data_dir) as queue, suppress(KeyboardInterrupt):
        follow_log(queue, job, follow=follow)


def _run(order: "Order", registrar: "Registrar", console: "Console") -> "Outcome":
    from services.cli.clients.training_errors import told
    from services.cli.views.training_progress import TrainingProgress
    from services.shared.clock import SystemClock
    from trainer.run import Run

    with TrainingProgress(console) as watcher, told():
        return Run(order, registrar, watcher, clock=SystemClock(), random=Random()).make()  # noqa: S311


def _recipe(file: Path, changes: list[str] | None) -> "Recipe":
    from services.shared.settings import WrongSettings
    from trainer.recipe_file import load

    try:
        return load(file, changes or ())
    except WrongSettings as error:
        raise CommandFailed(f"wrong recipe:\n{error}", status=WRONG_USE) from None


def _is_served(recipe: "Recipe") -> bool:
    return recipe.evaluate is not None and bool(recipe.evaluate.served)


def _teacher(recipe: "Recipe", data_dir: Path) -> "Endpoint | None":
    """From the environment if it names a teacher, else the gateway of the local cluster."""
    from services.local import env_file
    from services.local.data_folder import DataFolder
    from services.shared.settings import WrongSettings, read
    from trainer.distill_recipe import DistillRecipe
    from trainer.settings import TeacherSettings

    if not isinstance(recipe, DistillRecipe):
        return None
    try:
        settings = read(TeacherSettings)
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    if settings.teacher_url is None and DataFolder.at(data_dir).environment.exists():
        values = env_file.read(DataFolder.at(data_dir))
        given = {"teacher_url": values["OPENAI_BASE_URL"], "teacher_api_key": values["OPENAI_API_KEY"]}
        settings = settings.model_copy(update=given)
    return settings.teacher()


def _llm_compressor() -> Path | None:
    from services.shared.settings import WrongSettings, read
    from trainer.settings import CompressorSettings

    try:
        python = read(CompressorSettings).llm_compressor
    except WrongSettings as error:
        raise CommandFailed(f"wrong configuration:\n{error}", status=WRONG_USE) from None
    return python.absolute() if python else None


@contextmanager
def _queue_with(job: str, data_dir: Path) -> "Iterator[JobQueue]":
    """The same queue, for what is done with one job. Raises CommandFailed, also where there is no such job."""
    from trainer.jobs.queue import UnknownJob

    try:
        with _queue(data_dir) as queue:
            yield queue
    except UnknownJob:
        raise CommandFailed(f"there is no job {job}: `tidegate train jobs` lists them", status=WRONG_USE) from None


@contextmanager
def _queue(data_dir: Path) -> "Iterator[JobQueue]":
    """The job queue of TIDEGATE_DATABASE_URL, else of the local cluster. Raises CommandFailed."""
    from sqlalchemy.exc import SQLAlchemyError

    from services.shared.clock import SystemClock
    from services.shared.settings import WrongSettings
    from trainer.jobs.database import connect
    from trainer.jobs.queue import JobQueue

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
    from services.local.data_folder import DataFolder
    from services.local.running_cluster import running_cluster

    running_cluster(data_dir)
    return DataFolder.at(data_dir).jobs_url.read_text()
