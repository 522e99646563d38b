"""One batch in the hands of this gateway, from its input file to its output files.

The owner of a batch writes its document every few seconds, with its own name in it. Only a gateway that has read the
latest form can change it. So if two gateways both believe that they own a batch, they find out at the next write.
Results are stored in parts beside the document: when a gateway is killed, only those of the last few seconds are lost.
"""

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from services.gateway.batches.batch import Batch, Counts, Problem, Status
from services.gateway.batches.input_file import MAX_PROBLEMS, BatchInput, problem
from services.gateway.batches.line_requests import LineRequests
from services.gateway.batches.lines import Line, Result, answered, refused
from services.gateway.batches.output import OutputFiles
from services.gateway.batches.store import TRIES, BatchStore, Stored
from services.gateway.files.store import FileStore
from services.shared.clock import Clock
from services.shared.errors import (
    EngineFailed,
    InternalError,
    InvalidRequest,
    NotFound,
    Overloaded,
    QuotaExceeded,
    RateLimited,
    TidegateError,
    UnknownModel,
)
from services.shared.objectstore import Conflict
from services.shared.scratch import scratch

log = logging.getLogger(__name__)

BEAT_S = 5.0
FIRST_BEAT_S = 0.5
"""Pauses between beats grow from this to BEAT_S, so that the counts of a short batch move too."""
MAX_PAUSE_S = 30.0
ENGINE_TRIES = 3


class Lost(Exception):
    """Another gateway works on the batch now."""


class BatchRun:
    """Works on one batch."""

    def __init__(
        self,
        held: Stored,
        batches: BatchStore,
        files: FileStore,
        line_requests: LineRequests,
        *,
        concurrency: int,
        clock: Clock,
        random: Random,
    ) -> None:
        """Makes a run that has not begun.

        Args:
            held: the batch as this gateway wrote it when it took it.
            batches: stores batches and results.
            files: stores input and output files.
            line_requests: runs single requests.
            concurrency: requests that are open at once.
            clock: pauses, and times of the batch.
            random: ids of requests, and jitter.
        """
        self._held, self._batches, self._files, self._line_requests = held, batches, files, line_requests
        self._concurrency, self._clock, self._random = concurrency, clock, random
        self._output = OutputFiles(batches, files)
        self._owner = held.batch.owner
        self._counts = held.batch.counts
        self._unsaved: list[Result] = []
        self._parts = 0
        self._writing = asyncio.Lock()

    @property
    def _batch(self) -> Batch:
        return self._held.batch

    async def run(self) -> None:
        """Runs the batch to its end.

        Raises:
            ExceptionGroup: of Lost or StoreError: this gateway cannot go on with the batch.
        """
        async with asyncio.TaskGroup() as group:
            beating = group.create_task(self._beat())
            await self._advance()
            beating.cancel()

    async def release(self) -> None:
        """Stores what is done, and lets another gateway take the batch at once.

        Raises:
            Lost: another gateway has the batch.
            StoreError: the object store cannot be reached.
        """
        await self._save()
        await self._update(lambda batch: batch.model_copy(update={"owner": None}))

    async def _advance(self) -> None:
        with scratch("batch") as folder:
            todo = await self._input(folder / "input.jsonl")
            if self._batch.status == "validating" and todo.lines:
                todo = await self._with_known_models(todo)
            done = {result.index: result.failed async for result in self._batches.results(self._batch)}
            failed = sum(done.values())
            self._counts = Counts(
                total=len(todo.lines) or self._counts.total, completed=len(done) - failed, failed=failed
            )
            if not todo.problems:
                if self._batch.status == "validating":
                    await self._enter("in_progress")
                await self._work(todo, deque(line for line in todo.lines if line.index not in done))
            await self._finish(folder, todo)

    async def _input(self, path: Path) -> BatchInput:
        batch = self._batch
        try:
            pieces = await self._files.content(batch.tenant, batch.input_file_id)
        except NotFound:
            text = f"Cannot find file {batch.input_file_id}: it was deleted, or it has expired."
            return BatchInput(path, [], [Problem(code="invalid_request", message=text, param="input_file_id")])
        return await BatchInput.fetch(pieces, path, batch.endpoint)

    async def _with_known_models(self, todo: BatchInput) -> BatchInput:
        """Returns the input, or the problem of each model that is not served. Waits until a router tells the models."""
        first: dict[str, Line] = {}
        for line in todo.lines:
            first.setdefault(line.model, line)
        while self._over is None:
            try:
                unknown = await self._line_requests.unknown_models(self._batch, first)
            except TidegateError as error:
                if not _passes(error):
                    break  # Every line will get the same error.
                await self._pause(error)
            else:
                problems = [_unknown_model(first[model], error) for model, error in unknown.items()]
                return replace(todo, lines=[], problems=problems[:MAX_PROBLEMS]) if problems else todo
        return todo

    async def _work(self, batch_input: BatchInput, todo: deque[Line]) -> None:
        """Runs requests until all are done, the batch is cancelled, or its time is up."""
        workers = [asyncio.create_task(self._drain(batch_input, todo), name="batch") for _ in range(self._concurrency)]
        try:
            while self._over is None and any(not worker.done() for worker in workers):
                await asyncio.wait(workers, timeout=BEAT_S / 5)
        finally:
            for worker in workers:
                worker.cancel()
            ends = await asyncio.gather(*workers, return_exceptions=True)
        for end in ends:
            if isinstance(end, Exception):
                raise end

    @property
    def _over(self) -> Status | None:
        """How the batch ends if no more requests may run; None while they may."""
        if self._batch.status == "cancelling":
            return "cancelled"
        return "expired" if self._clock.wall() >= self._batch.expires else None

    async def _drain(self, batch_input: BatchInput, todo: deque[Line]) -> None:
        while todo:
            line = todo.popleft()
            result = await self._answer(line, batch_input.body(line))
            self._unsaved.append(result)
            counts = self._counts
            self._counts = counts.model_copy(
                update={"completed": counts.completed + (not result.failed), "failed": counts.failed + result.failed}
            )

    async def _answer(self, line: Line, body: dict[str, Any]) -> Result:
        """Runs one request. Waits and tries again after errors that pass; any other error is the line's result."""
        tries = 0
        while True:
            request_id = f"{self._random.getrandbits(128):032x}"
            try:
                document = await self._line_requests.ask(self._batch, body, request_id)
                return answered(self._batch.id, line, request_id, document)
            except TidegateError as error:
                tries += isinstance(error, EngineFailed)
                if not _passes(error) or tries >= ENGINE_TRIES:
                    return refused(self._batch.id, line, request_id, error)
                await self._pause(error)
            except Exception:
                log.exception("a request of a batch failed", extra={"request_id": request_id})
                return refused(self._batch.id, line, request_id, InternalError())

    async def _pause(self, error: TidegateError) -> None:
        await self._clock.sleep(min(error.retry_after_s or 1.0, MAX_PAUSE_S) * (1 + self._random.random()))

    async def _finish(self, folder: Path, todo: BatchInput) -> None:
        """Ends the batch. Whatever ends it, the results that exist are handed over."""
        end: Status = self._over or ("failed" if todo.problems else "completed")
        if not todo.problems:
            await self._enter("finalizing")
        await self._save()
        left = await self._output.write(self._batch, todo.lines, end, folder)
        files = {"output_file_id": left.output_file_id, "error_file_id": left.error_file_id}
        await self._enter(end, problems=tuple(todo.problems), **files)
        await self._batches.close(self._batch)

    async def _beat(self) -> None:
        """Writes the document every few seconds. Raises Lost, StoreError."""
        pause = FIRST_BEAT_S
        while True:
            await self._clock.sleep(min(pause, BEAT_S))
            pause = min(2 * pause, BEAT_S)
            await self._save()
            await self._update(lambda batch: batch)

    async def _enter(self, status: Status, **changes: object) -> None:
        now = self._clock.wall()
        await self._update(lambda batch: batch.entered(status, now, **changes))

    async def _save(self) -> None:
        async with self._writing:
            if results := self._unsaved:
                self._unsaved = []
                self._parts += 1
                await self._batches.add_part(self._batch, self._parts, results)

    async def _update(self, change: Callable[[Batch], Batch]) -> None:
        """Writes the document with a change. If another gateway changed it first, the change is made again."""
        async with self._writing:
            for _ in range(TRIES):
                with contextlib.suppress(Conflict):
                    self._held = await self._batches.put(self._held, self._alive(change(self._held.batch)))
                    return self._check_owner(released=self._held.batch.owner is None)
                self._held = await self._batches.get(self._batch.tenant, self._batch.id)
                self._check_owner()
            raise Lost(self._batch.id)

    def _alive(self, batch: Batch) -> Batch:
        return batch.model_copy(update={"beat": batch.beat + 1, "counts": self._counts})

    def _check_owner(self, *, released: bool = False) -> None:
        if not released and self._batch.owner != self._owner:
            raise Lost(self._batch.id)


def _unknown_model(line: Line, error: UnknownModel) -> Problem:
    named = InvalidRequest(error.message, param="body.model", code=error.wire.code)
    return problem(line.number, line.custom_id, named)


def _passes(error: TidegateError) -> bool:
    return isinstance(error, Overloaded | RateLimited | EngineFailed) and not isinstance(error, QuotaExceeded)
