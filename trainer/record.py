"""run.json: what a run's output folder belongs to and how far it has come, so that it can be gone on with."""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.shared.manifests import Sha256, digest_of
from trainer.data.folder import files_of
from trainer.data.shard_manifest import MANIFEST
from trainer.publish import file_of
from trainer.recipe import Recipe

DATA = "data"
"""Folder for data that was brought from a bucket. It may be there before the record is."""


CHECKPOINTS = "checkpoints"
"""Folder of a run for what it goes on from."""


ROWS = 2
"""Which order of rows (row_order.py) a run follows: a run that began with another cannot go on."""


class AnotherRun(Exception):
    """The output folder holds a run of another recipe or other data."""


class Counts(BaseModel):
    """Examples of a run, as in the manifest (services/shared/manifests.py: Training)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    learnt: int
    held_out: int
    cut: int
    dropped: int


class Skip(BaseModel):
    """A batch that a run skips, since it made a spike.

    step: at which it was seen. place: of the batch in the order of rows, in steps. reason: what was seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    place: int
    reason: str


class RunRecord(BaseModel):
    """How far a run has come.

    digest: of the recipe and its data. base: the version that its reference meant when the run began, None for a new
    model; models: those of a merge, in the recipe's order. figures: what its method measures beside the loss.
    skipped: batches, in the order in which they were seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    digest: Sha256
    base: Sha256 | None
    models: tuple[Sha256, ...] = ()
    counts: Counts | None = None
    held_out_before: float | None = None
    held_out_after: float | None = None
    figures: dict[str, float] = {}
    skipped: tuple[Skip, ...] = ()


def lost_answers(counts: Counts, max_length: int) -> str | None:
    """A sentence about answers that the limit of the length cut, or None."""
    if not counts.cut and not counts.dropped:
        return None
    total = counts.learnt + counts.held_out + counts.dropped
    return (
        f"max_length = {max_length} cuts the end off {counts.cut} of {total} answers, and {counts.dropped} are left out"
        " because nothing of them remains; a larger max_length keeps them"
    )


def digest(recipe: Recipe, data: Path | None) -> str:
    """Of all that decides the result; how it is judged and published does not. data: where it lies here."""
    return digest_of([settings(recipe), data_digest(data), ROWS])


def settings(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides the result, beside the data. Paths of this machine are no part of it."""
    found = recipe.model_dump(mode="json", exclude={"data", "evaluate", "gate", "publish", "report_to"})
    if tokenizer := found.get("tokenizer"):
        found["tokenizer"] = Path(tokenizer).name
    return found


def data_digest(data: Path | None) -> str:
    """SHA-256 of a data file; of a folder, that of its files' names and digests; else of nothing.

    Of shards, it is that of shards.json, which has the digests of the others.

    Raises:
        WrongData: There is no such data.
    """
    if data is None:
        return hashlib.sha256(b"").hexdigest()
    if (data / MANIFEST).is_file():
        return file_of(data / MANIFEST).sha256
    if not data.is_dir():
        return file_of(data).sha256
    return digest_of([[file.name, file_of(file.path).sha256] for file in files_of(data)[0]])


def load(folder: Path, wanted: str) -> RunRecord | None:
    """None at the beginning. Raises AnotherRun."""
    file = _file(folder)
    if not file.exists():
        if folder.is_dir() and any(entry.name != DATA for entry in folder.iterdir()):
            raise AnotherRun(f"{folder} holds files that are not a training run's; name an empty folder")
        return None
    record = RunRecord.model_validate_json(file.read_bytes())
    if record.digest != wanted:
        raise AnotherRun(
            f"{folder} holds the run of another recipe, of other data or of an older release; name another folder"
        )
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
