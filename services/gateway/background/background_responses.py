"""Responses that are made without a client that waits. Whoever asked fetches them later, from any gateway.

The gateway that took the request makes the response, and says so in the database every few seconds. If it is killed,
the signs stop, and the response has failed. A response that was cancelled or deleted, at any gateway, is not made on.
"""

import asyncio
import logging
from dataclasses import dataclass, field, replace

from services.gateway.database.engine import DatabaseAway
from services.gateway.domain.generation import Generation
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.generation_stream import Generations, GenerationStream
from services.gateway.openai import responses_events
from services.gateway.openai.documents import collect
from services.gateway.openai.responses_events import ResponseDocument, Shape
from services.gateway.stored_responses.store import StoredResponses, TooLargeToStore
from services.gateway.stored_responses.stored_response import Document, StoredResponse
from services.shared.clock import Clock
from services.shared.errors import ClientLeft, EngineFailed, InternalError, Overloaded, RateLimited, TidegateError
from services.shared.lifecycle import Tasks

log = logging.getLogger(__name__)

MAX_RUNNING = 256
"""Most responses that one gateway makes at once in the background."""
MAX_OF_TENANT = 64
BEAT_S = 5.0
END_TRIES = 12
"""How often the end of a response is written while the database is away, a beat apart."""


@dataclass(slots=True)
class _Running:
    """A response that is made here. `stream` is there while tokens come."""

    tenant: str
    stream: GenerationStream | None = None
    stopped: TidegateError | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    def stop(self, error: TidegateError) -> None:
        """Ends the response. What it is, the database says."""
        self.stopped = error
        if self.stream:
            self.stream.interrupt(error)


class BackgroundResponses:
    """Makes responses in the background."""

    def __init__(self, generations: Generations, store: StoredResponses, clock: Clock, drain_s: float) -> None:
        """Starts with none.

        Args:
            generations: runs them.
            store: keeps them.
            clock: times of them, and pauses.
            drain_s: seconds that they get when the gateway stops.
        """
        self._generations, self._store, self._clock, self._drain_s = generations, store, clock, drain_s
        self._running: dict[str, _Running] = {}
        self._tasks = Tasks()
        self._stopping = False

    async def begin(self, generation: Generation, shape: Shape, blank: StoredResponse) -> Document:
        """Takes a response on, and returns it as it is now: queued.

        Args:
            generation: what to generate.
            shape: how the response looks.
            blank: what is known of it.

        Raises:
            RateLimited: the tenant has too many that have not ended.
            Overloaded: this gateway makes too many.
            DatabaseAway: it cannot be kept.
            TooLargeToStore: it is too large to be kept.
        """
        self._check_room(blank.tenant)
        document = responses_events.document(_header(generation), shape.echo, "queued", [])
        queued = replace(blank, status="queued", document=document)
        running = self._running[blank.id] = _Running(blank.tenant)
        try:
            await self._store.add(queued)
        except BaseException:
            del self._running[blank.id]
            raise
        running.task = self._tasks.start(self._run(generation, shape, queued, running), f"response {blank.id}")
        return document

    def stop_one(self, response_id: str) -> None:
        """Makes no more of a response that was cancelled or deleted, if it is made here."""
        if running := self._running.get(response_id):
            running.stop(ClientLeft("The response was cancelled."))

    async def run(self) -> None:
        """Tells the database again and again which responses are made here."""
        while True:
            await self._clock.sleep(BEAT_S)
            ids = list(self._running)
            try:
                wanted = await self._store.beat(ids) if ids else set()
            except DatabaseAway as away:
                log.warning("the responses that are made here cannot be told: %s", away)
                continue
            for response_id in ids:
                if response_id not in wanted:
                    self.stop_one(response_id)

    async def stop(self) -> None:
        """Lets running responses end within the drain time, and takes no more. Those that do not end have failed."""
        self._stopping = True
        tasks = [running.task for running in self._running.values() if running.task]
        if tasks:
            await asyncio.wait(tasks, timeout=self._drain_s)
        for running in self._running.values():
            running.stop(EngineFailed("The gateway that made the response was stopped."))
        left = [task for task in tasks if not task.done()]
        if left:
            await asyncio.wait(left, timeout=BEAT_S)
        await self._tasks.stop()

    def _check_room(self, tenant: str) -> None:
        if self._stopping:
            raise Overloaded("The gateway is about to stop. Please try again.", retry_after_s=1.0)
        if len(self._running) >= MAX_RUNNING:
            raise Overloaded("The gateway makes too many responses in the background.", retry_after_s=5.0)
        if sum(running.tenant == tenant for running in self._running.values()) >= MAX_OF_TENANT:
            raise RateLimited(
                f"There are {MAX_OF_TENANT} background responses that have not ended.",
                param="background",
                code="too_many_background_responses",
                retry_after_s=5.0,
            )

    async def _run(self, generation: Generation, shape: Shape, queued: StoredResponse, running: _Running) -> None:
        try:
            document = await self._made(generation, shape, running)
            await self._end(replace(queued, status=document["status"], document=document))
        finally:
            del self._running[queued.id]

    async def _made(self, generation: Generation, shape: Shape, running: _Running) -> Document:
        """Returns the response at its end."""
        builder = ResponseDocument(shape, generation.id, self._clock)
        try:
            with self._generations.open(generation) as stream:
                running.stream = stream
                if running.stopped:
                    raise running.stopped
                await stream.begin()
                await self._note_begin(generation.id)
                return await collect(stream, builder)
        except TidegateError as error:
            return builder.broken(_header(generation), error)
        except Exception:
            log.exception("a background response failed", extra={"request_id": generation.id})
            return builder.broken(_header(generation), InternalError())

    async def _note_begin(self, response_id: str) -> None:
        """What a client reads meanwhile; the end does not depend on it."""
        try:
            await self._store.begin(response_id)
        except DatabaseAway as away:
            log.warning("the response %s is not shown as in progress: %s", response_id, away)

    async def _end(self, response: StoredResponse) -> None:
        for _ in range(END_TRIES):
            try:
                await self._store.end(response)
                return
            except TooLargeToStore:
                problem = {"code": "server_error", "message": "The response is too large to be stored."}
                document = {**response.document, "status": "failed", "output": [], "error": problem}
                response = replace(response, status="failed", document=document)
            except DatabaseAway as away:
                log.warning("the end of the response %s cannot be stored: %s", response.id, away)
                await self._clock.sleep(BEAT_S)
        log.error("the end of the response %s is lost", response.id)


def _header(generation: Generation) -> GenerationHeader:
    tier = generation.service_class.label
    return GenerationHeader(generation.id, generation.created, generation.model.id, tier, "none")
