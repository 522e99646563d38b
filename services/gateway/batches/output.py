"""What a batch leaves: a file with the answers, and one with the requests that have none and the reason."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.gateway.batches.batch import Batch, Status
from services.gateway.batches.lines import Line, not_run
from services.gateway.batches.store import BatchStore
from services.gateway.files.store import FileStore

NOT_RUN: dict[Status, tuple[str, str]] = {
    "cancelled": ("batch_cancelled", "The batch was cancelled before this request was answered."),
    "expired": ("batch_expired", "The completion window ended before this request was answered."),
}
"""Code and message for requests that a batch leaves without an answer, by how it ends. The codes are OpenAI's."""


@dataclass(frozen=True, slots=True)
class Output:
    """The files of a batch that ends, by their ids; None for one that would be empty."""

    output_file_id: str | None
    error_file_id: str | None


class OutputFiles:
    """Makes the output files of batches from the results that were stored."""

    def __init__(self, batches: BatchStore, files: FileStore) -> None:
        self._batches, self._files = batches, files

    async def write(self, batch: Batch, lines: Sequence[Line], end: Status, folder: Path) -> Output:
        """Writes the files of a batch and stores them.

        Args:
            batch: the batch, its results stored.
            lines: of its input; those without a result go to the error file if the batch was cancelled or expired.
            end: how the batch ends.
            folder: for files on their way.

        Raises:
            StoreError: the object store cannot be reached.
        """
        answers, failures = folder / "output.jsonl", folder / "errors.jsonl"
        done: set[int] = set()
        with answers.open("wb") as output, failures.open("wb") as errors:
            async for result in self._batches.results(batch):
                done.add(result.index)
                await asyncio.to_thread((errors if result.failed else output).write, result.line())
            await asyncio.to_thread(errors.writelines, _not_run(batch, lines, done, end))
            sizes = output.tell(), errors.tell()
        return Output(await self._keep(batch, answers, sizes[0]), await self._keep(batch, failures, sizes[1]))

    async def _keep(self, batch: Batch, path: Path, size: int) -> str | None:
        if not size:
            return None
        name = f"{batch.id}_{path.name}"
        kept = await self._files.save(
            batch.tenant, name, "batch_output", path, size, lifetime_s=batch.output_lifetime_s
        )
        return kept.id


def _not_run(batch: Batch, lines: Sequence[Line], done: set[int], end: Status) -> Iterator[bytes]:
    if end in NOT_RUN:
        for line in lines:
            if line.index not in done:
                yield not_run(batch.id, line, *NOT_RUN[end]).line()
