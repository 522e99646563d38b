"""The documents of a task: from the files of a source, or from what an earlier stage left."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
from datatrove.data import Document
from datatrove.pipeline.base import PipelineStep
from datatrove.pipeline.writers.jsonl import JsonlWriter

from trainer.data.containers.record import Fault, Record
from trainer.data.content import Budget
from trainer.data.records import records
from trainer.preparing.plan import Task

MAX_TASK_BYTES = 1 << 40
"""Unpacked bytes of a task: no file that was packed to burst a disk goes further."""
FAULT = "fault"
"""In the metadata of a document that could not be read: why."""
SOURCE, URL, TASK, REASON, PII = "source", "url", "task", "filter_reason", "pii"
"""Further keys of the metadata. No field of the data itself gets there: datatrove makes file names of them."""


class SourceReader(PipelineStep):  # type: ignore[misc]
    """Reads the files of a task. A record that cannot be read becomes a document without text, with a FAULT."""

    type = "📖 - READER"
    name = "sources"

    def __init__(self, tasks: Sequence[Task]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See PipelineStep. Raises WrongData: A file cannot be read at all."""
        task, budget = self.tasks[rank], Budget(MAX_TASK_BYTES)
        for file in task.files:
            for found in records(file.data_file(), budget, frozenset((task.text_field, task.url_field))):
                self.stat_update("documents")
                yield _document(found, task, rank)


def _document(found: Record | Fault, task: Task, rank: int) -> Document:
    metadata: dict[str, Any] = {SOURCE: task.source, TASK: rank}
    place = f"{task.source}/{found.place}"
    if isinstance(found, Fault):
        return Document("", place, metadata=metadata | {FAULT: found.sentence})
    text, url = found.fields.get(task.text_field), found.fields.get(task.url_field)
    if not isinstance(text, str):
        return Document("", place, metadata=metadata | {FAULT: f"{task.text_field} is missing, or is no text"})
    if isinstance(url, str) and url:
        metadata[URL] = url
    return Document(text, place, metadata=metadata)


class Kept(PipelineStep):  # type: ignore[misc]
    """Reads what a task of an earlier stage wrote to a folder. A task that wrote nothing has no file."""

    type = "📖 - READER"
    name = "kept"

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def run(self, data: Any = None, rank: int = 0, world_size: int = 1) -> Iterator[Document]:
        """See PipelineStep."""
        for document in stored(self.folder, rank):
            self.stat_update("documents")
            yield document


def stored(folder: Path, rank: int) -> Iterator[Document]:
    """The documents that a task wrote."""
    file = folder / f"{rank:05d}.jsonl"
    if not file.exists():
        return
    with file.open("rb") as lines:
        for line in lines:
            found = orjson.loads(line)
            yield Document(found.get("text", ""), found["id"], metadata=found["metadata"])


def writer(folder: Path) -> JsonlWriter:
    """Writes a file for each task, which `stored` reads."""
    return JsonlWriter(str(folder), compression=None)
