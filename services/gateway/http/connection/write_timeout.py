"""Time that a client may take to read: one timer for a whole answer, not one for every write."""

import asyncio
from collections.abc import Callable


class WriteTimeout:
    """`give_up` is called when one wait has lasted `limit_s`; `lost` says so from then on."""

    def __init__(self, limit_s: float, give_up: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._limit_s, self._give_up = limit_s, give_up
        self._since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.lost = False

    def begin(self) -> None:
        """A wait begins."""
        self._since = self._loop.time()
        if self._timer is None:
            self._timer = self._loop.call_later(self._limit_s, self._look)

    def end(self, *, last: bool = False) -> None:
        """last: there will be no other."""
        self._since = None
        if last and self._timer:
            self._timer.cancel()

    def _look(self) -> None:
        """Most waits are over long before the timer that the first of them has set."""
        self._timer = None
        if self._since is None:
            return
        left_s = self._since + self._limit_s - self._loop.time()
        if left_s > 0:
            self._timer = self._loop.call_later(left_s, self._look)
        else:
            self.lost = True
            self._give_up()
