"""Stop strings: text that may become one is held back until that is decided."""


class StopStrings:
    """Finds stop strings in generated text, also across several pieces."""

    def __init__(self, stops: tuple[str, ...], *, include: bool = False) -> None:
        """Starts a text. include: the text ends with the stop string that was found."""
        self._stops, self._include = stops, include
        self._max_held = max(map(len, stops), default=1) - 1
        self._pending = ""

    def push(self, piece: str, *, armed: bool = True) -> tuple[str, str | None]:
        """Adds a piece of text.

        Args:
            piece: New text.
            armed: If false, stop strings are not found yet.

        Returns:
            The text that may go out; and the stop string that was found, or None.
        """
        if not self._stops:
            return piece, None
        self._pending += piece
        hits = [(at, stop) for stop in self._stops if (at := self._pending.find(stop)) >= 0] if armed else []
        if hits:
            at, stop = min(hits)
            return self._release(at + len(stop) if self._include else at), stop
        return self._release(len(self._pending) - self._max_held), None

    def flush(self) -> str:
        """Returns the text that is still held back, after the last piece."""
        return self._release(len(self._pending))

    def _release(self, length: int) -> str:
        length = max(length, 0)
        released, self._pending = self._pending[:length], self._pending[length:]
        return released
