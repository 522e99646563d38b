"""Training data, wherever it lies."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.recipe import Recipe
from services.cli.errors import WRONG_USE, CommandFailed

if TYPE_CHECKING:
    from trainer.preparing.prepare import FetchTokenizer
    from trainer.preparing.recipe import PrepareRecipe
    from trainer.preparing.report import Preparation

S3 = "s3://"


def local_data(data: str | Path, scratch: Path) -> Path:
    """Where data lies on this machine. Data of a bucket is brought to `scratch` first.

    Raises:
        WrongData: The bucket cannot be read, or there is no data.
    """
    if isinstance(data, Path):
        return data
    from trainer.remote_data import fetch

    return asyncio.run(fetch(data, scratch))


def stays(recipe: "Recipe") -> bool:
    """Whether data does not travel with its job: the trainer reads it in a bucket.

    Raises:
        WrongData: A recipe of pretraining names what the trainer cannot reach.
    """
    from trainer.data.shard_manifest import MANIFEST
    from trainer.data.wrong import WrongData
    from trainer.pretrain_recipe import PretrainRecipe

    if not isinstance(recipe, PretrainRecipe):
        return False
    if recipe.tokenizer and Path(recipe.tokenizer).is_dir():
        raise WrongData(
            f"tokenizer = {recipe.tokenizer!r}: the trainers cannot reach a folder of this machine: name a model in the"
            " registry"
        )
    if not isinstance(recipe.data, Path):
        return True
    if recipe.weights or (recipe.data / MANIFEST).is_file():
        raise WrongData(
            f"data = {str(recipe.data)!r}: shards and several sources do not travel with a job: put them into a bucket,"
            " and name s3://bucket/prefix"
        )
    return False


def prepared(recipe: "PrepareRecipe", fetch: "FetchTokenizer", told: Callable[[str], None]) -> "Preparation":
    """Makes the shards of a prepare recipe; see Preparing.

    Raises:
        WrongData: Something in the recipe or the data is wrong.
        CommandFailed: The packages for it are not installed.
    """
    try:
        from trainer.preparing.prepare import Preparing, World
    except ImportError as error:
        raise CommandFailed(
            f"{error}: install the extra for it: pip install 'tidegate[data]'", status=WRONG_USE
        ) from None
    return Preparing(recipe, World(fetch, time.sleep, told)).make()
