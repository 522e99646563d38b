"""Parses server-sent events from bytes that may be split anywhere (WHATWG HTML, 9.2.6)."""

MAX_EVENT_BYTES = 4 * 1024 * 1024


class EventTooLarge(Exception):
    """An event is larger than MAX_EVENT_BYTES."""


class EventStream:
    """Returns the data of events. Other fields (event, id, retry) and comments are dropped."""

    def __init__(self) -> None:
        self._rest = b""
        self._after_cr = False
        self._begun = False

    def feed(self, data: bytes) -> list[bytes]:
        """Adds bytes; returns the data of each event that they complete.

        Raises:
            EventTooLarge: An event is too large.
        """
        if b"\r" in data or self._after_cr:
            data = self._with_plain_ends(data)
        blocks = (self._rest + data).split(b"\n\n")
        self._rest = blocks.pop()
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLarge(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        if blocks and not self._begun:
            self._begun = True
            blocks[0] = blocks[0].removeprefix(b"\xef\xbb\xbf")
        return [event for block in blocks if (event := _data(block)) is not None]

    def _with_plain_ends(self, data: bytes) -> bytes:
        """Makes CR LF and CR to LF. A CR at the end of the previous bytes is LF already; the LF after it is dropped."""
        if not data:
            return data
        if self._after_cr:
            data = data.removeprefix(b"\n")
        self._after_cr = data.endswith(b"\r")
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _data(block: bytes) -> bytes | None:
    """None for a block without data."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = [line for line in block.split(b"\n") if line.startswith(b"data:") or line == b"data"]
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines) if lines else None
