"""`tidegate train evaluate`: what a version in the registry reaches, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.clients.registrar import registrar
from services.cli.errors import REFUSED, WRONG_USE, CommandFailed
from services.cli.options import DEFAULT_DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from trainer.evaluation.evaluated import Evaluated
    from trainer.evaluation_plan import Evaluation


def evaluate(
    model: Annotated[str, typer.Argument(metavar="MODEL[@VERSION]", help="version, alias, or latest without one")],
    recipe: Annotated[Path | None, typer.Option(help="recipe whose section `evaluate` counts")] = None,
    tasks: Annotated[
        str | None, typer.Option(help="tasks in place of the recipe's, with commas between; default: Tidegate's own")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="documents of each task")] = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    json: Json = False,
) -> None:
    """Evaluate a version beside the one it was made from, and beside what `latest` of its model names.

    Exit status 3: a threshold of the recipe refuses it.
    """
    from services.cli.views.evaluation import evaluation_document, print_evaluation
    from services.cli.views.output import print_json

    plan, seed = _plan(recipe, tasks, limit)
    evaluated = _evaluated(model, plan, seed, data_dir)
    print_json(evaluation_document(evaluated)) if json else print_evaluation(evaluated)
    if evaluated.decision.way == "refuse":
        raise CommandFailed(f"the thresholds refuse {model}", status=REFUSED)


def _plan(recipe: Path | None, tasks: str | None, limit: int | None) -> "tuple[Evaluation, int]":
    from services.shared.settings import WrongSettings, check
    from trainer.evaluation_plan import Evaluation
    from trainer.recipe_file import load

    try:
        loaded = load(recipe) if recipe else None
        if loaded and loaded.evaluate is None and tasks is None:
            raise CommandFailed(f"{recipe}: evaluate is not set: set it, or name tasks by --tasks", status=WRONG_USE)
        plan = loaded.evaluate.model_dump(exclude_unset=True) if loaded and loaded.evaluate else {}
        plan |= {"tasks": tasks.split(",")} if tasks is not None else {}
        plan |= {"limit": limit} if limit is not None else {}
        return check(Evaluation, plan, lambda key: f"evaluate.{key}"), loaded.seed if loaded else 0
    except WrongSettings as error:
        raise CommandFailed(f"wrong evaluation:\n{error}", status=WRONG_USE) from None


def _evaluated(model: str, plan: "Evaluation", seed: int, data_dir: Path) -> "Evaluated":
    from tempfile import TemporaryDirectory

    from services.cli.clients.training_errors import told
    from services.cli.views.output import err
    from services.cli.views.training_progress import TrainingProgress
    from services.shared.clock import SystemClock
    from trainer.quiet import quiet, share_cores

    share_cores()
    quiet()
    own, cache = registrar(data_dir), data_dir.absolute() / "training" / "base"
    with TemporaryDirectory(prefix="tidegate-evaluation-") as scratch, TrainingProgress(err()) as watcher, told():
        from trainer.evaluator import Evaluator

        evaluator = Evaluator(plan, seed, Path(scratch), own, cache, watcher, SystemClock())
        return evaluator.of_version(model)
