"""What the worker process is and how it is doing: one object that the engine's side writes and the adapters read."""

import asyncio
from dataclasses import dataclass
from enum import IntEnum

from services.worker.engine.contract import EngineInfo
from services.worker.weight_update_report import Report


class State(IntEnum):
    """Numbers are those of both protocols' WorkerState."""

    LOADING = 1
    READY = 2
    # Finishes what runs; takes nothing new.
    DRAINING = 3
    # The engine makes no progress, or is gone.
    STUCK = 4
    # Changes its weights; takes nothing new until it is ready again.
    SWAPPING = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """epoch: grows with every start of the process, so that what a predecessor sent can be told apart.
    slots: sequences that the engine will run together, known before it has started."""

    worker_id: str
    epoch: int
    pool: str
    pid: int
    slots: int


class Status:
    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.state = State.LOADING
        self.info: EngineInfo | None = None
        # Golden prompts that the loaded weights have answered right; None until the first proof.
        self.golden_proved: int | None = None
        self.requests = 0
        self.delivery: Report | None = None
        self._sealed = False
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self._changed.set()

    def loaded(self, info: EngineInfo) -> None:
        self.info = info
        if self.state is State.LOADING:
            self.enter(State.READY)

    @property
    def admits(self) -> bool:
        """Requests granted just before a hold may still start, until nothing runs and the weights are changed."""
        return self.state is State.READY or (self.state is State.SWAPPING and not self._sealed)

    def hold(self) -> None:
        self.enter(State.SWAPPING)

    def seal(self) -> None:
        """From here on nothing starts, whatever was granted."""
        self._sealed = True

    def reopen(self) -> None:
        """Ends a hold. A worker that drains or is stuck meanwhile stays so."""
        self._sealed = False
        if self.state is State.SWAPPING:
            self.enter(State.READY)

    def deliver(self, report: Report) -> None:
        self.delivery = report
        self._changed.set()

    def request_began(self) -> None:
        self.requests += 1
        self._idle.clear()
        self._changed.set()

    def request_ended(self) -> None:
        self.requests -= 1
        if self.requests < 0:
            raise RuntimeError("a request ended twice")
        if not self.requests:
            self._idle.set()
        self._changed.set()

    async def changed(self) -> None:
        """Returns at once when state, delivery or number of requests changed since the last call, else when they do."""
        await self._changed.wait()
        self._changed.clear()

    async def idle(self) -> None:
        """Returns when no request runs, and that still holds when the caller goes on."""
        while self.requests:
            await self._idle.wait()
