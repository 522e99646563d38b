"""Connections to Redis that look up, each time they connect, which server holds a pool's keys just now.

A connection to a server that turns out to be the wrong one (demoted, or without the pool's slot) is given up; the next
one goes where the keys are. No call is redirected: while a slot moves from node to node its keys are in two places, and
a script must see all of them.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hiredis
import redis.asyncio as redis
from redis.asyncio.connection import Connection, ConnectionPool, SSLConnection
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisError
from redis.retry import Retry

from services.router.core.keys import PoolKeys
from services.router.redis.url import Address, RedisUrl

TIMEOUT_S = 3.0

Locate = Callable[[], Awaitable[Address]]


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Where Redis is, and what one shows to be let in. Without an authority the machine's own are trusted."""

    url: RedisUrl
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None

    def options(self) -> dict[str, Any]:
        """Of any connection."""
        # A call that failed must not be sent again by the client library: whether to repeat it is ours to decide.
        common = {
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "retry": Retry(NoBackoff(), 0),
        }
        return common | (self._tls() if self.url.tls else {})

    def _tls(self) -> dict[str, Any]:
        files = {"ssl_ca_certs": self.authority, "ssl_certfile": self.certificate, "ssl_keyfile": self.key}
        return {name: str(path) for name, path in files.items() if path}

    def credentials(self) -> dict[str, Any]:
        return {"username": self.url.username, "password": self.url.password}


class WrongServer(redis.ConnectionError):
    """It does not hold the pool's keys (any more)."""


class _Located:
    """A connection that asks where to connect. Mixed into the library's."""

    host: str
    port: int

    def __init__(self, *, locate: Locate, **options: Any) -> None:
        super().__init__(**options)
        self._locate = locate
        # SHA of each script that this connection loaded: its server has it, unless an operator flushed them.
        self.loaded: set[str] = set()

    async def _connect(self) -> None:
        self.loaded.clear()
        self.host, self.port = await self._locate()
        await super()._connect()  # type: ignore[misc]

    def pack_command(self, *args: Any) -> list[bytes]:
        """In C, a tenth of what the library's own takes; a command's name may be several words."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except (ReadOnlyError, MovedError, AskError) as error:
            await self.disconnect()  # type: ignore[attr-defined]
            raise WrongServer(str(error)) from None


class _PlainConnection(_Located, Connection):
    """Without TLS."""


class _TlsConnection(_Located, SSLConnection):
    """With TLS."""


def connect(access: RedisAccess, keys: PoolKeys) -> redis.Redis:
    """A client for the server that holds the pool's keys. Connects when it is used."""
    pool = ConnectionPool(
        connection_class=_TlsConnection if access.url.tls else _PlainConnection,
        locate=_locator(access, keys),
        db=access.url.database,
        **access.options(),
        **access.credentials(),
    )
    return redis.Redis.from_pool(pool)


def _locator(access: RedisAccess, keys: PoolKeys) -> Locate:
    match access.url.kind:
        case "server":
            return _Fixed(access.url.addresses[0])
        case "sentinel":
            return _Watched(access)
        case "cluster":
            return _InSlot(access, key_slot(keys.root.encode()))


@dataclass(frozen=True, slots=True)
class _Fixed:
    address: Address

    async def __call__(self) -> Address:
        return self.address


@dataclass(frozen=True, slots=True)
class _Watched:
    """The master that the first Sentinel which answers has in mind."""

    access: RedisAccess

    async def __call__(self) -> Address:
        """Raises RedisError."""
        access = self.access
        credentials = {"username": access.sentinel_username, "password": access.sentinel_password}
        options = {**access.options(), **credentials, "ssl": access.url.tls}
        asked = Sentinel(list(access.url.addresses), sentinel_kwargs=options)  # type: ignore[no-untyped-call]
        try:
            host, port = await asked.discover_master(access.url.master)
        finally:
            for sentinel in asked.sentinels:
                await sentinel.aclose()
        return str(host), int(port)


class _InSlot:
    """The node of a cluster that holds a slot, by any node that answers: those of the URL, and those they told of."""

    def __init__(self, access: RedisAccess, slot: int) -> None:
        self._access = access
        self._slot = slot
        self._nodes = access.url.addresses

    async def __call__(self) -> Address:
        """Raises RedisError."""
        trouble = f"no node holds slot {self._slot}"
        for node in self._nodes:
            try:
                owners = await self._ask(node)
            except (RedisError, OSError) as error:
                trouble = f"{node[0]}:{node[1]}: {error}"
                continue
            self._nodes = tuple(dict.fromkeys((*self._access.url.addresses, *owners.values())))
            for (first, last), owner in owners.items():
                if first <= self._slot <= last:
                    return owner
        raise redis.ConnectionError(trouble)

    async def _ask(self, node: Address) -> dict[tuple[int, int], Address]:
        """Ranges of slots and their masters. A node that does not know its own name is where we asked it."""
        options = {**self._access.options(), **self._access.credentials(), "ssl": self._access.url.tls}
        async with redis.Redis(host=node[0], port=node[1], **options) as client:
            ranges: Any = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        return {(first, last): (_text(host) or node[0], int(port)) for first, last, (host, port, *_), *_ in ranges}


def _text(name: bytes | None) -> str:
    return (name or b"").decode()
