"""A name server on loopback: a channel to `dns://ADDRESS/NAME:PORT` asks it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum, auto

HEADER_BYTES = 12
A = 1
"""The type of a question for an IPv4 address."""
NO_SUCH_NAME = 3


class Mood(Enum):
    """How questions are answered."""

    RIGHT = auto()
    NO_SUCH_NAME = auto()
    SILENT = auto()


class NameServer(asyncio.DatagramProtocol):
    """Answers every question with 127.0.0.1, as its mood allows. asked: questions for an IPv4 address so far."""

    def __init__(self) -> None:
        self.mood = Mood.RIGHT
        self.asked = 0
        # After so many questions the mood is right.
        self.recovers_after: int | None = None
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        question = data[HEADER_BYTES : data.index(b"\0", HEADER_BYTES) + 5]
        (kind,) = struct.unpack(">H", question[-4:-2])
        self.asked += kind == A
        if self.recovers_after is not None and self.asked > self.recovers_after:
            self.mood = Mood.RIGHT
        if self.mood is Mood.SILENT or self._transport is None:
            return
        found = kind == A and self.mood is Mood.RIGHT
        code = NO_SUCH_NAME if self.mood is Mood.NO_SUCH_NAME else 0
        header = data[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, int(found), 0, 0)
        record = b"\xc0\x0c" + struct.pack(">HHIH", A, 1, 1, 4) + socket.inet_aton("127.0.0.1")
        self._transport.sendto(header + question + (record if found else b""), addr)


@asynccontextmanager
async def name_server() -> AsyncIterator[tuple[NameServer, str]]:
    """Yields a name server and the beginning of addresses that ask it."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(NameServer, local_addr=("127.0.0.1", 0))
    try:
        yield server, f"dns://127.0.0.1:{transport.get_extra_info('sockname')[1]}/"
    finally:
        transport.close()
