"""Files and batches of one gateway, wired together. It needs an object store to keep them in."""

from random import Random

from services.gateway.batches.line_requests import CurrentRights, LineRequests
from services.gateway.batches.run import BatchRun
from services.gateway.batches.runner import BatchRunner
from services.gateway.batches.store import BatchStore, Stored
from services.gateway.files.expiry import ExpirySweep
from services.gateway.files.store import FileStore
from services.gateway.generation.generation_stream import Generations
from services.gateway.openai.request_builder import RequestBuilder
from services.shared.clock import Clock
from services.shared.lifecycle import Tasks
from services.shared.objectstore import ObjectStore


class BatchService:
    """Stores of files and batches, the runner that works on open batches, and the sweep of expired files."""

    def __init__(
        self,
        store: ObjectStore,
        builder: RequestBuilder,
        generations: Generations,
        rights: CurrentRights,
        *,
        concurrency: int,
        clock: Clock,
        random: Random,
    ) -> None:
        """Makes the service.

        Args:
            store: keeps files, batches and their results.
            builder: validates the lines of a batch.
            generations: runs them.
            rights: returns what a key may do now.
            concurrency: requests of one batch that are open at once.
            clock: times of files and batches, and pauses.
            random: ids of files, batches and requests.
        """
        self.files, self.batches = FileStore(store, clock, random.getrandbits), BatchStore(store)
        files, batches, line_requests = self.files, self.batches, LineRequests(builder, generations, rights)

        def make_run(held: Stored) -> BatchRun:
            return BatchRun(held, batches, files, line_requests, concurrency=concurrency, clock=clock, random=random)

        owner = f"{random.getrandbits(128):032x}"
        self._runner = BatchRunner(owner, batches, make_run, clock=clock)
        self._sweep = ExpirySweep(files, clock)
        self._tasks = Tasks()

    async def start(self) -> None:
        """Starts the runner and the sweep. The object store may be away meanwhile."""
        self._tasks.start(self._runner.run(), "batches")
        self._tasks.start(self._sweep.run(), "expired files")

    async def stop(self) -> None:
        """Releases all running batches to other gateways. Call it while requests can still end."""
        await self._tasks.stop()
        await self._runner.stop()
