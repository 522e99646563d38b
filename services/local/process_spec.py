"""How the supervisor starts a process, and how it sees that the process is ready."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.shared.objectstore import StoreSettings


@dataclass(frozen=True, slots=True)
class HttpProbe:
    """Ready when a GET of `url` answers 200."""

    url: str


@dataclass(frozen=True, slots=True)
class RedisProbe:
    """Ready when Redis answers PING."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoreProbe:
    """Ready when the object store accepts an object and returns it."""

    settings: StoreSettings = field(repr=False)


ReadinessProbe = HttpProbe | RedisProbe | StoreProbe

# A busy machine may take minutes. A process that dies is noticed at once; this is for one that hangs.
START_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process of the cluster.

    Attributes:
        address: host:port that other processes use, or an empty string.
        env: Variables that are added to the environment of the supervisor.
        start_limit_s: Seconds until the process must be ready.
        stop_limit_s: Seconds that the process gets after SIGTERM, before SIGKILL.
        http_address: host:port of probes and metrics, or an empty string.
        leftover_files: Paths outside the data folder that the process may leave behind.
    """

    name: str
    argv: tuple[str, ...]
    address: str
    ready: ReadinessProbe
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_limit_s: float = START_LIMIT_S
    stop_limit_s: float = 10.0
    http_address: str = ""
    leftover_files: tuple[str, ...] = ()
