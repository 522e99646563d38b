"""What every process of a run that several processes learn needs to know: a JSON file, with samples beside it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from trainer.data import inner, reader
from trainer.data.corpus import Corpus
from trainer.data.sample import Sample
from trainer.data.shards import open_shards
from trainer.data.split import Split
from trainer.learning_recipe import LearningRecipe
from trainer.pretrain_recipe import PretrainRecipe
from trainer.recipe_file import parse
from trainer.record import RunRecord
from trainer.sequences import corpus_of

_LEARNT, _HELD_OUT = "learnt.jsonl", "held-out.jsonl"
"""Samples in the inner form, beside the file of the task."""


class Task(BaseModel):
    """A run that is to be learnt.

    recipe: as JSON. base, folder: where they lie on this machine. name: of the base, model@version. known: how far the
    run has come; all processes must begin alike. shards: the tokens of a pretraining.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    recipe: dict[str, Any]
    base: Path
    folder: Path
    name: str
    known: RunRecord
    shards: Path | None = None

    @classmethod
    def read(cls, file: Path) -> Self:
        """What `write` wrote."""
        return cls.model_validate_json(file.read_bytes())

    def parsed(self) -> LearningRecipe:
        """The recipe."""
        recipe = parse(self.recipe)
        if not isinstance(recipe, LearningRecipe):
            raise AssertionError("only recipes that learn have several processes")
        return recipe

    def split(self, folder: Path) -> Split | Corpus:
        """What is learnt, and what only measures.

        Args:
            folder: That of the task's file.
        """
        recipe = self.parsed()
        if self.shards is None:
            return Split(*(reader.load(folder / name).samples for name in (_LEARNT, _HELD_OUT)))
        if not isinstance(recipe, PretrainRecipe):
            raise AssertionError("only a pretraining has shards")
        return corpus_of(recipe, open_shards(self.shards))


def write(
    target: Path,
    recipe: LearningRecipe,
    split: Split | Corpus,
    base: Path,
    folder: Path,
    name: str,
    known: RunRecord,
) -> Path:
    """Writes a task.

    Args:
        target: Folder for its files.
        recipe, split, base, folder, name, known: As of the Learner.

    Returns:
        The file of the task.
    """
    document = recipe.model_dump(mode="json", exclude={"publish", "gate"})
    shards = split.shards if isinstance(split, Corpus) else None
    task = Task(recipe=document, base=base, folder=folder, name=name, known=known, shards=shards)
    if isinstance(split, Split):
        _write_samples(target / _LEARNT, split.training)
        _write_samples(target / _HELD_OUT, split.held_out)
    file = target / "task.json"
    file.write_text(task.model_dump_json())
    return file


def _write_samples(file: Path, samples: Sequence[Sample]) -> None:
    with file.open("w") as out:
        out.writelines(inner.to_jsonl(samples))
