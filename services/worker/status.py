"""The worker's identity and state: one object that the engine's side writes and the protocol adapters read."""

import asyncio
from dataclasses import dataclass
from enum import IntEnum

from services.shared.swap_mode import SwapMode
from services.worker.adapter_report import AdapterReport
from services.worker.engine.contract import EngineInfo
from services.worker.standby_report import StandbyReport
from services.worker.weight_update_report import Report


class State(IntEnum):
    """States of a worker; the numbers are those of WorkerState in both protocols."""

    LOADING = 1
    READY = 2
    # Running requests finish; new ones are not accepted.
    DRAINING = 3
    # The engine makes no progress, or is gone.
    STUCK = 4
    # The weights change; the router grants nothing until the worker is ready again.
    SWAPPING = 5


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the worker is; it does not change while the process lives.

    Attributes:
        worker_id: Unique name of the worker.
        epoch: Grows with every start of the process, so frames of an earlier process can be recognised.
        pool: Name of the pool in tidegate.yaml.
        pid: Process id.
        slots: Sequences that the engine runs together; known before the engine has started.
    """

    worker_id: str
    epoch: int
    pool: str
    pid: int
    slots: int


class Status:
    """The worker's state; it wakes waiting tasks when the state changes."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.state = State.LOADING
        self.info: EngineInfo | None = None
        # Golden prompts that the loaded weights have answered right; None until the first proof.
        self.golden_proved: int | None = None
        self.requests = 0
        self.weight_update: Report | None = None
        self.speculator_update: Report | None = None
        self.standby: StandbyReport | None = None
        self.adapters = AdapterReport()
        self._sealed: SwapMode | None = None
        self._changed = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self, state: State) -> None:
        """Changes the state."""
        if state is not self.state:
            self.state = state
            self._changed.set()

    def loaded(self, info: EngineInfo) -> None:
        """Stores what the engine runs; a worker that was loading becomes ready."""
        self.info = info
        if self.state is State.LOADING:
            self.enter(State.READY)

    @property
    def admits(self) -> bool:
        """Whether a request may start.

        During a hold, requests that were granted before may still start; after `seal` none may.
        """
        return self.state is State.READY or (self.state is State.SWAPPING and self._sealed is None)

    def hold(self) -> None:
        """Tells the router to grant nothing more to this worker."""
        self.enter(State.SWAPPING)

    def seal(self, mode: SwapMode) -> None:
        """Lets no request start any more, even if it was granted. mode: how such requests are continued."""
        self._sealed = mode

    @property
    def sealed(self) -> SwapMode | None:
        """How requests are continued that come while the weights change; None while they may start."""
        return self._sealed

    def reopen(self) -> None:
        """Ends a hold. A worker that has begun to drain or is stuck stays in that state."""
        self._sealed = None
        if self.state is State.SWAPPING:
            self.enter(State.READY)

    @property
    def is_updating(self) -> bool:
        """Whether the weights of the model or of the speculator are about to change, or change now."""
        updates = (self.weight_update, self.speculator_update)
        return any(update is not None and not update.phase.is_last for update in updates)

    def report_speculator_update(self, report: Report) -> None:
        """Publishes the progress of an update of the speculator."""
        self.speculator_update = report
        self._changed.set()

    def report_update(self, report: Report) -> None:
        """Publishes the progress of a weight update."""
        self.weight_update = report
        self._changed.set()

    def report_standby(self, report: StandbyReport | None) -> None:
        """Publishes the progress of a version that is staged ahead; None: there is none. Bytes alone are no news."""
        is_news = report is None or self.standby is None or report.phase is not self.standby.phase
        self.standby = report
        if is_news:
            self._changed.set()

    def report_adapters(self, report: AdapterReport) -> None:
        """Publishes which adapters are served and loaded."""
        if report != self.adapters:
            self.adapters = report
            self._changed.set()

    def request_began(self) -> None:
        """Counts a request that has started."""
        self.requests += 1
        self._idle.clear()
        self._changed.set()

    def request_ended(self) -> None:
        """Counts a request that has ended.

        Raises:
            RuntimeError: More requests ended than began.
        """
        self.requests -= 1
        if self.requests < 0:
            raise RuntimeError("a request ended twice")
        if not self.requests:
            self._idle.set()
        self._changed.set()

    async def changed(self) -> None:
        """Waits until the state, the weight update or the number of requests has changed since the last call."""
        await self._changed.wait()
        self._changed.clear()

    async def idle(self) -> None:
        """Waits until no request runs; that is still true when the caller continues."""
        while self.requests:
            await self._idle.wait()
