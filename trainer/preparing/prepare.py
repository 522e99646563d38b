"""From a prepare recipe to shards. Started again, it goes on behind the last task that was finished."""

import asyncio
import shutil
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.shared.folder_lock import FolderLock
from trainer.data.shard_manifest import MANIFEST
from trainer.data.wrong import WrongData
from trainer.preparing import tokenizer_folder
from trainer.preparing.cleaning import Cleaning
from trainer.preparing.executors import Stages, check_executor, check_nobody_works
from trainer.preparing.language_filter import check_languages
from trainer.preparing.plan import Plan, make_plan, read_plan, write_plan
from trainer.preparing.recipe import PrepareRecipe
from trainer.preparing.recipe_file import digest, work_folder
from trainer.preparing.report import REPORT, Preparation
from trainer.preparing.shard_bucket import upload
from trainer.preparing.sharding import Sharding
from trainer.preparing.words import words_of
from trainer.remote_data import fetch

MAX_SOURCE_BYTES = 1 << 42
"""Bytes of a source that is brought from a bucket."""
FetchTokenizer = Callable[[str, Path], Coroutine[Any, Any, None]]
"""Brings the tokenizer's files of a model in the registry to a folder."""


@dataclass(frozen=True, slots=True)
class World:
    """What preparing needs of the outside.

    Attributes:
        fetch_tokenizer: See FetchTokenizer.
        sleep: Waits for so many seconds.
        told: Is told the name of each stage, when it begins.
    """

    fetch_tokenizer: FetchTokenizer
    sleep: Callable[[float], None]
    told: Callable[[str], None]


class Preparing:
    """One run of a recipe."""

    def __init__(self, recipe: PrepareRecipe, world: World) -> None:
        self._recipe, self._world = recipe, world
        self._work = work_folder(recipe)
        self._output = recipe.output if isinstance(recipe.output, Path) else self._work / "shards"
        logs, options = self._work / "logs", recipe.executor_options
        self._stages = Stages(recipe.executor, recipe.workers, options, logs, world.sleep, world.told)

    def make(self) -> Preparation:
        """Blocks until the shards are there.

        Raises:
            WrongData: Something in the recipe or the data is wrong; the message says what.
        """
        check_executor(self._recipe.executor, self._recipe.executor_options, self._work)
        self._work.mkdir(parents=True, exist_ok=True)
        if (lock := FolderLock.to_write(self._work)) is None:
            raise WrongData(f"{self._work}: another process prepares data in this folder")
        try:
            check_nobody_works(self._stages.logs)
            return self._make()
        finally:
            lock.release()

    def _make(self) -> Preparation:
        plan = self._plan()
        if not (self._output / MANIFEST).is_file():
            cleaning = Cleaning(self._recipe, plan, self._work, self._stages)
            counts = cleaning.run()
            tokenizer = self._tokenizer(cleaning.clean, len(plan.tasks))
            Sharding(self._recipe, plan, self._work, self._output, self._stages).run(cleaning, tokenizer, counts)
        if isinstance(self._recipe.output, str):
            self._world.told("upload")
            asyncio.run(upload(self._output, self._recipe.output))
        return Preparation.model_validate_json((self._output / REPORT).read_bytes())

    def _plan(self) -> Plan:
        """The plan of the run that began here, or a new one."""
        of_recipe = digest(self._recipe)
        if plan := read_plan(self._work, of_recipe):
            return plan
        if self._output.exists() and any(self._output.iterdir()):
            raise WrongData(f"{self._output}: the folder is not empty, and holds nothing of this run: name another one")
        words_of(self._recipe.words)
        if self._recipe.language:
            check_languages(self._recipe.language)
        fields = {name: (source.text_field, source.url_field) for name, source in self._recipe.sources.items()}
        plan = make_plan(of_recipe, dict(self._places()), fields, self._recipe.tasks)
        write_plan(self._work, plan)
        return plan

    def _places(self) -> Iterator[tuple[str, Path]]:
        """Where each source lies on this machine. What lies in a bucket is brought here."""
        for name, source in self._recipe.sources.items():
            if isinstance(source.path, Path):
                yield name, source.path
                continue
            self._world.told(f"download {source.path}")
            folder = self._work / "sources" / name
            yield name, asyncio.run(fetch(source.path, folder, limit=MAX_SOURCE_BYTES))

    def _tokenizer(self, clean: Path, tasks: int) -> Path:
        """The folder of the tokenizer, which is made or fetched once."""
        folder, settings = self._work / "tokenizer", self._recipe.train_tokenizer
        if folder.is_dir():
            return folder
        self._world.told("tokenizer")
        if settings:
            tokenizer_folder.train(folder, settings, clean, tasks, self._recipe.seed, self._recipe.eos_token)
            return folder
        named = self._recipe.tokenizer or ""
        source = Path(named)
        if not source.is_dir():
            source = self._work / "tokenizer.fetched"
            shutil.rmtree(source, ignore_errors=True)
            asyncio.run(self._world.fetch_tokenizer(named, source))
        tokenizer_folder.take(source, folder)
        return folder
