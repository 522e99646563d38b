"""The time as an object that is passed in, so that tests and simulations can control it."""

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def wall(self) -> float:
        """Unix seconds, for timestamps. Not for measuring: the clock may be set."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment. They never go back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Waits that many seconds."""


class SystemClock:
    """The clock of this machine."""

    def wall(self) -> float:
        """Unix seconds."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since an arbitrary moment."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Waits that many seconds."""
        await asyncio.sleep(seconds)
