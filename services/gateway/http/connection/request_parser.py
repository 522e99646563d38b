"""httptools' parser, which a request to change the protocol does not stop.

Java's HTTP client asks to go on in HTTP/2 with its first request on each connection (`Upgrade: h2c`). A server may
ignore that. But httptools ends there: it takes the request's body for bytes of the other protocol, so the body would be
lost.
"""

from collections.abc import Sequence
from typing import Protocol

from httptools import HttpParserUpgrade, HttpRequestParser

_UPGRADE_HEADERS = frozenset({b"upgrade", b"http2-settings"})
_UPGRADE_TOKENS = frozenset({b"", b"upgrade", b"http2-settings"})


class Head(Protocol):
    """What was read of a request before its body."""

    url: bytes
    headers: list[tuple[bytes, bytes]]


class RequestParser(HttpRequestParser):
    """Parses a request that wants to change the protocol a second time, without that wish.

    The first time, only `should_upgrade` tells the protocol that the request will come again.
    """

    def __init__(self, protocol: Head) -> None:
        super().__init__(protocol)
        self._protocol = protocol
        # As uvicorn has it: what comes after `connection: close` is not worth an error.
        self.set_dangerous_leniencies(lenient_data_after_close=True)

    def feed_data(self, data: bytes) -> None:  # type: ignore[override]
        """Parses bytes. Raises HttpParserError; HttpParserUpgrade only after a CONNECT."""
        while True:
            try:
                return super().feed_data(data)
            except HttpParserUpgrade as upgrade:
                if not self.comes_again:
                    raise
                data = self._head() + data[upgrade.args[0] :]

    @property
    def comes_again(self) -> bool:
        """Whether the request whose head is complete will be parsed again. A CONNECT is nothing but an upgrade."""
        return self.should_upgrade() and self.get_method() != b"CONNECT"

    def _head(self) -> bytes:
        line = b"%b %b HTTP/%b" % (self.get_method(), self._protocol.url, self.get_http_version().encode())
        return b"\r\n".join([line, *without_upgrade(self._protocol.headers), b"", b""])


def without_upgrade(headers: Sequence[tuple[bytes, bytes]]) -> list[bytes]:
    """Returns the lines of headers without those that ask to change the protocol. headers: names in lower case."""
    lines = []
    for name, value in headers:
        if name == b"connection":
            tokens = [token.strip() for token in value.split(b",")]
            value = b", ".join(token for token in tokens if token.lower() not in _UPGRADE_TOKENS)
        if name not in _UPGRADE_HEADERS and (value or name != b"connection"):
            lines.append(name + b": " + value)
    return lines
