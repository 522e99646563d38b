"""HTTP by hand, for what client libraries hide: versions, framing, odd headers."""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from services.shared.settings import split

TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class RawResponse:
    """A response as it came over the wire. `headers` have names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """Returns the body as JSON."""
        return orjson.loads(self.body)


class RawConnection:
    """One connection to host:port, closed after the block."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def __aenter__(self) -> "RawConnection":
        self.reader, self.writer = await asyncio.open_connection(*split(self._address))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()

    def write(self, *parts: str | bytes) -> None:
        """Sends bytes as they are."""
        self.writer.write(b"".join(part.encode() if isinstance(part, str) else part for part in parts))

    async def head(self) -> RawResponse:
        """Reads status and headers; of a body nothing is read."""
        async with asyncio.timeout(TIMEOUT_S):
            first, *lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        return RawResponse(int(first.split(" ")[1]), headers, b"")

    async def response(self) -> RawResponse:
        """Reads a response that has a length."""
        head = await self.head()
        async with asyncio.timeout(TIMEOUT_S):
            body = await self.reader.readexactly(int(head.headers["content-length"]))
        return RawResponse(head.status, head.headers, body)

    async def to_the_end(self) -> bytes:
        """Reads until the server closes the connection."""
        async with asyncio.timeout(TIMEOUT_S):
            return await self.reader.read()


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    """Returns a request. line: such as `GET /livez HTTP/1.1`."""
    return "\r\n".join([line, "host: gateway", *headers, "", ""]).encode() + body
