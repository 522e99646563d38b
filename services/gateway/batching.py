"""Files and batches, wired together where there is an object store to keep them."""

from random import Random

from fastapi import APIRouter

from services.gateway.batches.line_requests import LineRequests, Still
from services.gateway.batches.run import BatchRun
from services.gateway.batches.runner import BatchRunner
from services.gateway.batches.store import BatchStore, Stored
from services.gateway.files.store import FileStore
from services.gateway.generation.generation_stream import Generations
from services.gateway.http.routes.batches import BatchRoutes
from services.gateway.http.routes.files import FileRoutes
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.settings import GatewaySettings
from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from services.shared.objectstore import ObjectStore


class Batching:
    def __init__(
        self,
        store: ObjectStore,
        settings: GatewaySettings,
        asking: RequestBuilder,
        answers: Generations,
        still: Still,
        *,
        clock: Clock,
        random: Random,
    ) -> None:
        files, batches = FileStore(store, clock, random.getrandbits), BatchStore(store)
        line_by_line = LineRequests(asking, answers, still)

        def hold(held: Stored) -> BatchRun:
            concurrency = settings.batch_concurrency
            return BatchRun(held, batches, files, line_by_line, concurrency=concurrency, clock=clock, random=random)

        owner = f"{random.getrandbits(128):032x}"
        self._runner = BatchRunner(owner, batches, hold, clock=clock)
        self._tasks = Tasks()
        self._apis = (
            FileRoutes(files, max_bytes=settings.max_file_bytes, timeout_s=settings.body_timeout_s),
            BatchRoutes(batches, files, clock, random.getrandbits),
        )

    def routes(self) -> list[APIRouter]:
        return [api.routes() for api in self._apis]

    async def start(self) -> None:
        """Needs no object store to start."""
        self._tasks.start(self._runner.run(), "batches")

    async def stop(self) -> None:
        """While requests can still be finished: batches are let go of, for others to go on."""
        await self._tasks.stop()
        await self._runner.stop()
