"""What the supervisor is told of a process: how to start it, and when it is ready."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.shared.objectstore import StoreSettings


@dataclass(frozen=True, slots=True)
class HttpReady:
    """Answers 200."""

    url: str


@dataclass(frozen=True, slots=True)
class RedisReady:
    """Answers PING."""

    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoreReady:
    """Takes an object and gives it back."""

    settings: StoreSettings = field(repr=False)


Ready = HttpReady | RedisReady | StoreReady


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """`env` is added to the machine's own. Limits in seconds. http_address: of probes and metrics, where it has any."""

    name: str
    argv: tuple[str, ...]
    address: str
    ready: Ready
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    start_limit_s: float = 30.0
    stop_limit_s: float = 10.0
    http_address: str = ""
    litter: tuple[str, ...] = ()
    """Paths that the process leaves behind outside the data folder."""
