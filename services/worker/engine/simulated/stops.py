"""Text that may turn into a stop string is held back until it cannot."""


class StopStrings:
    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._hold = max(map(len, stops), default=1) - 1
        self._pending = ""

    def push(self, piece: str, *, armed: bool = True) -> tuple[str, str | None]:
        """Text that may go out, and the stop string that ended it (itself left out). Unarmed: only holds back."""
        self._pending += piece
        hits = [(at, stop) for stop in self._stops if (at := self._pending.find(stop)) >= 0] if armed else []
        if hits:
            at, stop = min(hits)
            return self._release(at), stop
        return self._release(len(self._pending) - self._hold), None

    def flush(self) -> str:
        """What is still held back, once nothing can follow it."""
        return self._release(len(self._pending))

    def _release(self, length: int) -> str:
        length = max(length, 0)
        released, self._pending = self._pending[:length], self._pending[length:]
        return released
