"""run.json: what a run's output folder belongs to and how far it has come, so that it can be gone on with."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from services.shared.manifests import Sha256, digest_of
from trainer.publish import file_of
from trainer.recipe import Recipe


class AnotherRun(Exception):
    """The output folder holds a run of another recipe or other data."""


class RunRecord(BaseModel):
    """digest: of the recipe and its data. base: the version that its reference meant when the run began."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Sha256
    base: Sha256
    held_out_before: float | None = None
    held_out_after: float | None = None


def digest(recipe: Recipe) -> str:
    """Of all that decides the result; where it is published does not."""
    return digest_of([recipe.model_dump(mode="json", exclude={"data", "publish"}), file_of(recipe.data).sha256])


def load(folder: Path, wanted: str) -> RunRecord | None:
    """None at the beginning. Raises AnotherRun."""
    file = _file(folder)
    if not file.exists():
        if folder.is_dir() and any(folder.iterdir()):
            raise AnotherRun(f"{folder} holds files that are not a training run's; name an empty folder")
        return None
    record = RunRecord.model_validate_json(file.read_bytes())
    if record.digest != wanted:
        raise AnotherRun(f"{folder} holds the run of another recipe, or of other data; name another folder")
    return record


def save(folder: Path, record: RunRecord) -> RunRecord:
    """Writes run.json in one step, so that a kill leaves the old one or the new one."""
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / "run.json.new"
    draft.write_text(record.model_dump_json(indent=2))
    draft.replace(_file(folder))
    return record


def _file(folder: Path) -> Path:
    return folder / "run.json"
