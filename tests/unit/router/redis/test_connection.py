"""What the router uses of redis-py's connections is there, and public."""

import inspect

import pytest
from redis.asyncio.connection import AbstractConnection, Connection, ConnectionPool, SSLConnection

from services.router.redis import connection

OVERRIDDEN = {"connect_check_health", "pack_command", "read_response"}
USED = {"disconnect", "is_connected", "send_packed_command"}


def test_the_overridden_members_are_public() -> None:
    defined = {name for name in vars(connection._Located) if hasattr(AbstractConnection, name)}
    assert {name for name in defined if not name.startswith("__")} == OVERRIDDEN


@pytest.mark.parametrize("library", [Connection, SSLConnection])
def test_the_library_has_what_is_overridden_and_used(library: type[AbstractConnection]) -> None:
    assert all(hasattr(library, name) for name in OVERRIDDEN | USED)


@pytest.mark.parametrize("method", [AbstractConnection.connect, AbstractConnection.send_packed_command])
def test_every_way_to_connect_goes_through_the_overridden_one(method: object) -> None:
    assert "connect_check_health(" in inspect.getsource(method)  # type: ignore[arg-type]


def test_the_context_of_certificates_can_be_forgotten() -> None:
    context = SSLConnection().ssl_context
    first = context.get()
    assert context.get() is first
    context.context = None
    assert context.get() is not first


def test_a_pool_gives_and_takes_connections() -> None:
    assert {"get_connection", "release"} <= set(dir(ConnectionPool))
