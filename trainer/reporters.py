"""Where a run tells its figures to, besides its own files: TensorBoard, MLflow, Weights & Biases.

The callbacks are those of transformers, which reads their settings from the environment of the run.
"""

from collections.abc import Callable, Iterable, MutableMapping
from importlib.util import find_spec
from pathlib import Path

from trainer.errors import Unfit

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb"}
"""The package that each needs."""
TENSORBOARD = "tensorboard"
"""Folder of a run."""


def _is_installed(package: str) -> bool:
    return find_spec(package) is not None


def prepare(
    names: Iterable[str],
    run: Path,
    environ: MutableMapping[str, str],
    is_installed: Callable[[str], bool] = _is_installed,
) -> None:
    """Before the first step.

    Args:
        names: `report_to` of the recipe.
        run: Folder of the run; TensorBoard's files go there, unless the environment names another one.
        environ: Of this process.
        is_installed: Whether there is a package.

    Raises:
        Unfit: A package is missing.
    """
    for name in names:
        if not is_installed(PACKAGES[name]):
            raise Unfit(
                f"report_to: {name} needs the package {PACKAGES[name]}, which is not installed here: install it where"
                f" the run is made (pip install {PACKAGES[name]}), or leave {name} out"
            )
        if name == "tensorboard":
            environ.setdefault("TENSORBOARD_LOGGING_DIR", str(run / TENSORBOARD))
