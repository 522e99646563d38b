"""A Redis URL. It names one server, a master that Sentinels watch, or a cluster."""

from dataclasses import dataclass, field
from typing import Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

Address = tuple[str, int]
Kind = Literal["server", "sentinel", "cluster"]

_PORTS: dict[Kind, int] = {"server": 6379, "sentinel": 26379, "cluster": 6379}
_FORMS = (
    "redis://user:password@host:6379/0, redis+sentinel://user:password@host:26379,host:26379/master/0 "
    "or redis+cluster://user:password@host:6379,host:6379 (rediss in place of redis for TLS)"
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed URL.

    Attributes:
        addresses: Of the server, of the Sentinels, or of some nodes of the cluster.
        username: For the servers, not for the Sentinels; so is `password`.
        master: Name of the master that the Sentinels watch.
    """

    kind: Kind
    addresses: tuple[Address, ...]
    tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    master: str = ""
    database: int = 0

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads a URL.

        Raises:
            ValueError: The URL cannot be used. The message does not have the password.
        """
        parts = urlsplit(url)
        protocol, _, kind = parts.scheme.partition("+")
        if protocol not in ("redis", "rediss") or kind not in ("", "sentinel", "cluster"):
            raise ValueError(f"the URL must be {_FORMS}")
        if parts.query or parts.fragment:
            raise ValueError("the URL has options after its path: they are settings of their own")
        username, password = _credentials(parts)
        master, database = _path(kind or "server", parts.path)
        return cls(
            kind or "server",  # type: ignore[arg-type]
            _addresses(parts, kind or "server"),  # type: ignore[arg-type]
            tls=protocol == "rediss",
            username=username,
            password=password,
            master=master,
            database=database,
        )


def _credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    username, _, password = parts.netloc.rpartition("@")[0].partition(":")
    return unquote(username) or None, unquote(password) or None


def _addresses(parts: SplitResult, kind: Kind) -> tuple[Address, ...]:
    hosts = parts.netloc.rpartition("@")[2].split(",")
    if kind == "server" and len(hosts) > 1:
        raise ValueError("several hosts are a cluster's (redis+cluster://) or Sentinels' (redis+sentinel://)")
    return tuple(_address(host, _PORTS[kind]) for host in hosts)


def _address(text: str, port: int) -> Address:
    try:
        parsed = urlsplit(f"//{text}")
        if parsed.hostname:
            return parsed.hostname, parsed.port or port
    except ValueError:
        pass
    raise ValueError(f"{text!r} is no host:port")


def _path(kind: str, path: str) -> tuple[str, int]:
    """The name of the master that Sentinels watch, and the number of the database."""
    steps = [step for step in path.split("/") if step]
    master = steps.pop(0) if kind == "sentinel" and steps else ""
    if kind == "sentinel" and not master:
        raise ValueError("the path must name the master that the Sentinels watch: /master or /master/0")
    database = steps.pop(0) if steps else "0"
    if steps or not database.isdecimal():
        raise ValueError(f"the path {path!r} must end in the number of a database")
    if kind == "cluster" and int(database):
        raise ValueError("a cluster has one database: 0")
    return master, int(database)
