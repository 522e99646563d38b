"""A prepare recipe as people write it. Paths in it start at its folder."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from services.shared.settings import WrongSettings, check
from trainer.data.folder import files_of
from trainer.data.wrong import WrongData
from trainer.preparing.recipe import PrepareRecipe
from trainer.recipe_file import read_document

_NOT_OF_THE_RESULT = {"output", "work", "workers", "executor", "executor_options"}
"""Keys that change no byte of the result."""


def load(file: Path, changes: Sequence[str] = ()) -> PrepareRecipe:
    """Reads a recipe; its paths become absolute.

    Args:
        file: YAML.
        changes: KEY=VALUE each, which count in place of what the file says.

    Raises:
        WrongSettings: A value is wrong, or a file that it names is not there; the message names file and key.
    """
    recipe = check(PrepareRecipe, read_document(file, changes), lambda key: f"{file}: {key}")
    anchored: PrepareRecipe = _anchored(recipe, file.parent)
    if anchored.tokenizer and (folder := file.parent / anchored.tokenizer).is_dir():
        anchored = anchored.model_copy(update={"tokenizer": str(folder.absolute())})
    for key, path in named_files(anchored):
        if not path.exists():
            raise WrongSettings(f"{file}: {key} = {path}: there is no such file")
    return anchored


def named_files(recipe: PrepareRecipe) -> Iterator[tuple[str, Path]]:
    """Files and folders that change the result, and that are no source: the key and the path of each."""
    if recipe.url:
        lists = {name: getattr(recipe.url, name) for name in ("domains", "urls", "banned_words", "soft_banned_words")}
        yield from ((f"url.{name}", path) for name, path in lists.items() if path)
    if recipe.language and recipe.language.model:
        yield "language.model", recipe.language.model
    if recipe.decontaminate:
        yield from (("decontaminate.data", path) for path in recipe.decontaminate.data)
    if recipe.train_tokenizer and recipe.train_tokenizer.chat_template:
        yield "train_tokenizer.chat_template", recipe.train_tokenizer.chat_template


def digest(recipe: PrepareRecipe) -> str:
    """SHA-256 in hex over all that decides what the result is, but for the sources' content.

    Raises:
        WrongData: A folder that the recipe names holds no data.
    """
    found = hashlib.sha256()
    found.update(json.dumps(recipe.model_dump(mode="json", exclude=_NOT_OF_THE_RESULT), sort_keys=True).encode())
    for _, path in named_files(recipe):
        for file in [each.path for each in files_of(path)[0]] if path.is_dir() else [path]:
            with file.open("rb") as opened:
                found.update(hashlib.file_digest(opened, "sha256").digest())
    return found.hexdigest()


def work_folder(recipe: PrepareRecipe) -> Path:
    """Where what lies in between is kept."""
    if recipe.work is not None:
        return recipe.work
    if isinstance(recipe.output, str):
        raise WrongData("work is not set, and the output lies in a bucket")
    return recipe.output.with_name(f"{recipe.output.name}.work")


def _anchored(value: Any, folder: Path) -> Any:
    if isinstance(value, Path):
        return (folder / value).absolute()
    if isinstance(value, BaseModel):
        return value.model_copy(
            update={name: _anchored(getattr(value, name), folder) for name in type(value).model_fields}
        )
    if isinstance(value, tuple):
        return tuple(_anchored(item, folder) for item in value)
    if isinstance(value, dict):
        return {key: _anchored(item, folder) for key, item in value.items()}
    return value
