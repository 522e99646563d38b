"""Which files each task reads. It is written down once: a run that is resumed keeps to it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from trainer.data.folder import DataFile, files_of
from trainer.data.wrong import WrongData
from trainer.preparing.recipe import MAX_TASKS

PLAN = "plan.json"


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class InputFile(_Part):
    """A file of a source; `size` is that on the disk, in bytes."""

    path: Path
    name: str
    ending: str
    size: int

    def data_file(self) -> DataFile:
        """As readers know it."""
        return DataFile(self.path, self.name, self.ending)


class Task(_Part):
    """What is worked on by itself: some files of one source, in their order."""

    source: str
    text_field: str
    url_field: str
    files: tuple[InputFile, ...]


class Plan(_Part):
    """All tasks, those of the first source first.

    Attributes:
        recipe: Digest of the recipe.
        files_left_out: Files whose names are no data's.
    """

    recipe: str
    tasks: tuple[Task, ...]
    files_left_out: int


def make_plan(recipe: str, places: Mapping[str, Path], fields: Mapping[str, tuple[str, str]], tasks: int) -> Plan:
    """Divides the files of each source among at most `tasks` tasks.

    Args:
        recipe: Digest of the recipe.
        places: Where each source lies on this machine.
        fields: The fields of text and URL of each source.
        tasks: Most of a source.

    Raises:
        WrongData: A source holds no data; there would be more than MAX_TASKS tasks.
    """
    made, left_out = [], 0
    for source, place in places.items():
        files, others = files_of(place)
        left_out += others
        found = [
            InputFile(path=file.path, name=file.name, ending=file.ending, size=file.path.stat().st_size)
            for file in files
        ]
        text, url = fields[source]
        for number in range(min(tasks, len(found))):
            files_of_task = tuple(found[number::tasks])
            made.append(Task(source=source, text_field=text, url_field=url, files=files_of_task))
    if len(made) > MAX_TASKS:
        raise WrongData(f"tasks = {tasks}: all sources together would have {len(made)} tasks; at most {MAX_TASKS}")
    return Plan(recipe=recipe, tasks=tuple(made), files_left_out=left_out)


def read_plan(work: Path, recipe: str) -> Plan | None:
    """The plan of an earlier run, or None.

    Raises:
        WrongData: It is that of another recipe, or a file of a source has another size now.
    """
    file = work / PLAN
    if not file.is_file():
        return None
    try:
        plan = Plan.model_validate_json(file.read_bytes())
    except ValidationError:
        raise WrongData(f"{file}: the plan is damaged: remove {work} and start again") from None
    if plan.recipe != recipe:
        raise WrongData(
            f"{work}: the folder holds the work of another recipe, or a file that the recipe names has changed: name"
            " another work folder, or remove it"
        )
    for task in plan.tasks:
        for each in task.files:
            if not each.path.is_file() or each.path.stat().st_size != each.size:
                raise WrongData(f"{each.path}: the file has changed since the run began: remove {work} and start again")
    return plan


def write_plan(work: Path, plan: Plan) -> None:
    """Whole or not at all."""
    draft = work / f"{PLAN}.new"
    draft.write_text(plan.model_dump_json(indent=1))
    draft.replace(work / PLAN)
