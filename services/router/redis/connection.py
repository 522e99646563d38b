"""Connections to Redis. Each time one connects, it looks up which server holds the pool's keys now.

A connection to a server that turns out to be the wrong one (demoted, or without the pool's slot) is closed, and the
next one goes where the keys are. No call is redirected: while a slot moves from node to node its keys are in two
places, and a script must see all of them.

This file is the only one that overrides methods of redis-py. tests/unit/router/redis/test_connection.py names them.
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
from redis.credentials import CredentialProvider
from redis.exceptions import AskError, MovedError, ReadOnlyError, RedisError
from redis.retry import Retry

from services.router.core.keys import PoolKeys
from services.router.redis.url import Address, RedisUrl

TIMEOUT_S = 3.0

Locate = Callable[[], Awaitable[Address]]


@dataclass(frozen=True, slots=True)
class RedisAccess:
    """Where Redis is, and how to get in.

    Attributes:
        authority: PEM of the authority that signs the servers' certificates; None trusts the machine's own authorities.
        certificate: PEM that the router shows; `key` is its private key.
        sentinel_username: For the Sentinels, which have credentials of their own; so is `sentinel_password`.
        password_file: The file that has the password; None: the URL has it, if there is one.
    """

    url: RedisUrl
    authority: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    password_file: Path | None = None

    def options(self) -> dict[str, Any]:
        """Options of every connection."""
        # The client library must not repeat a call that failed: the router decides that.
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
        """User name and password for the servers."""
        if self.password_file:
            return {"credential_provider": _PasswordFile(self.url.username, self.password_file)}
        return {"username": self.url.username, "password": self.url.password}


class _PasswordFile(CredentialProvider):
    """Reads the password for each connection, so that a new one needs no restart."""

    def __init__(self, username: str | None, file: Path) -> None:
        self._username, self._file = username, file

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """Raises redis.ConnectionError: the file cannot be read."""
        try:
            password = self._file.read_text().strip()
        except OSError as error:
            raise redis.ConnectionError(f"the password file {self._file}: {error.strerror}") from None
        return (self._username, password) if self._username else (password,)

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """The same."""
        return self.get_credentials()


class WrongServer(redis.ConnectionError):
    """The server does not hold the pool's keys, or no longer."""


class _Located:
    """A connection that looks up where to connect. A mixin for the connections of redis-py."""

    host: str
    port: int
    is_connected: bool

    def __init__(self, *, locate: Locate, **options: Any) -> None:
        super().__init__(**options)
        self._locate = locate
        # SHA of each script that this connection loaded. Its server has it, unless an operator flushed the scripts.
        self.loaded: set[str] = set()

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Connects, unless it is connected. The library calls this before it sends, and when a pool connects."""
        if not self.is_connected:
            self.loaded.clear()
            try:
                self.host, self.port = await self._locate()
            except (RedisError, OSError) as error:
                raise redis.ConnectionError(str(error)) from error
        await super().connect_check_health(*args, **options)  # type: ignore[misc]

    def pack_command(self, *args: Any) -> list[bytes]:
        """Packs a command in C, in a tenth of the library's time. A command's name may be several words."""
        return [hiredis.pack_command((*args[0].split(), *args[1:]))]

    async def read_response(self, *args: Any, **options: Any) -> Any:
        """Reads an answer. Raises WrongServer, and disconnects, if it says that the keys are elsewhere."""
        try:
            return await super().read_response(*args, **options)  # type: ignore[misc]
        except (ReadOnlyError, MovedError, AskError) as error:
            await self.disconnect()  # type: ignore[attr-defined]
            raise WrongServer(str(error)) from None


class _PlainConnection(_Located, Connection):
    """Without TLS."""


class _TlsConnection(_Located, SSLConnection):
    """With TLS."""

    async def connect_check_health(self, *args: Any, **options: Any) -> None:
        """Reads the files of the certificates again for each connection, so that renewed ones need no restart."""
        if not self.is_connected:
            self.ssl_context.context = None
        await super().connect_check_health(*args, **options)


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
    """The master, as the first Sentinel that answers knows it."""

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
    """The node of a cluster that holds a slot. It asks the nodes of the URL, and nodes that these told of."""

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
        """Ranges of slots and their masters. A node that does not know its own name has the address that was asked."""
        options = {**self._access.options(), **self._access.credentials(), "ssl": self._access.url.tls}
        async with redis.Redis(host=node[0], port=node[1], **options) as client:
            ranges: Any = await client.execute_command("CLUSTER SLOTS")  # type: ignore[no-untyped-call]
        return {(first, last): (_text(host) or node[0], int(port)) for first, last, (host, port, *_), *_ in ranges}


def _text(name: bytes | None) -> str:
    return (name or b"").decode()
