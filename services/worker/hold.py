"""Emptying the engine before its weights change, so that nobody waits for a long answer.

wait   The worker serves as always. Answers that no other worker can continue get time to finish.
hold   The router grants nothing more, for a bounded time. Running requests may finish meanwhile.
move   What still runs ends here, and its gateway has it continued: with the new weights, or elsewhere.

An answer that nobody can continue is known before the hold, so nobody is held for a swap that cannot come. In the mode
`finish` such an answer ends the update when its time is over. In the other modes it ends itself then, with an error, as
at any drain: whoever chooses them puts the rollout first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from services.shared.clock import Clock
from services.shared.swap_mode import SwapMode
from services.worker.status import State, Status

# Requests that were granted just before the hold arrive within this time.
_SETTLE_S = 0.25
# Between two looks at what runs.
_LOOK_S = 0.02
# For requests that were ended to leave the engine.
_LEAVE_S = 5.0


class UpdateRefused(Exception):
    """The weight update ends before the engine has changed anything."""


class Running(Protocol):
    """The requests that run on this worker."""

    def fixed(self, older_than_s: float = 0.0) -> int:
        """How many run that no other worker can continue, for longer than `older_than_s` seconds."""
        ...

    def move(self, mode: SwapMode) -> None:
        """Ends all requests, so that they are continued as `mode` says. Those that cannot be, fail."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """How a hold goes.

    Attributes:
        mode: What happens to requests that the hold does not see end.
        finish_s: Seconds that requests get which no other worker can continue.
        hold_s: Seconds that new requests may wait before the swap.
    """

    mode: SwapMode
    finish_s: float
    hold_s: float


class Hold:
    """Empties the engine of one worker for a weight update."""

    def __init__(
        self, status: Status, running: Running, on_hold: Callable[[], None], bounds: Bounds, clock: Clock
    ) -> None:
        """Prepares; `empty` does it.

        Args:
            status: Tells the router what the worker takes.
            running: The requests.
            on_hold: Called each time a hold begins.
            bounds: How it goes.
            clock: For the bounds.
        """
        self._status, self._running, self._on_hold, self._bounds, self._clock = status, running, on_hold, bounds, clock

    async def empty(self) -> None:
        """Returns once no request runs; from then on none can start.

        Raises:
            UpdateRefused: A request cannot be continued elsewhere, or the worker has begun to drain.
        """
        late_at = self._clock.monotonic() + self._bounds.finish_s
        while True:
            await self._until(lambda: not self._running.fixed(self._bounds.hold_s), State.READY, late_at)
            late = self._clock.monotonic() >= late_at
            if late and self._bounds.mode is SwapMode.FINISH and (fixed := self._running.fixed(self._bounds.hold_s)):
                raise self._refused(fixed)
            if await self._hold(cuts=late and self._bounds.mode is not SwapMode.FINISH):
                return
            if late:
                raise self._refused(self._running.fixed())
            self._status.reopen()

    async def _hold(self, *, cuts: bool) -> bool:
        """Holds, and moves what is left. False: something is left that cannot be moved, and `cuts` is false."""
        self._expect(State.READY)
        self._status.hold()
        self._on_hold()
        await self._clock.sleep(_SETTLE_S)
        await self._until(self._is_empty_enough, State.SWAPPING, self._clock.monotonic() + self._bounds.hold_s)
        self._expect(State.SWAPPING)
        if self._running.fixed() and not cuts:
            return False
        self._status.seal(self._bounds.mode)
        if self._status.requests:
            self._running.move(self._bounds.mode)
            await self._until(lambda: not self._status.requests, State.SWAPPING, self._clock.monotonic() + _LEAVE_S)
        self._expect(State.SWAPPING)
        if self._status.requests:
            raise UpdateRefused(f"{self._status.requests} requests did not end within {_LEAVE_S:g} s")
        return True

    def _is_empty_enough(self) -> bool:
        if self._bounds.mode is SwapMode.RECOMPUTE:
            return not self._running.fixed()
        return not self._status.requests

    async def _until(self, done: Callable[[], bool], state: State, at: float) -> None:
        """Returns when it is done, when the worker leaves the state, or at a time."""
        while not done() and self._status.state is state and self._clock.monotonic() < at:
            await self._clock.sleep(_LOOK_S)

    def _expect(self, state: State) -> None:
        if self._status.state is not state:
            raise UpdateRefused(f"this worker is {self._status.state.name.lower()}")

    def _refused(self, requests: int) -> UpdateRefused:
        return UpdateRefused(
            f"{requests} requests that no other worker can continue did not finish within {self._bounds.finish_s:g} s"
        )
