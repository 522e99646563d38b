"""What is noted about one HTTP request while it passes through: for headers, metrics and logs."""

from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Scope

from services.gateway.domain.account import Caller
from services.gateway.http.limit_headers import Headers
from services.gateway.metrics import UNKNOWN_MODEL
from services.gateway.openai.request_builder import identified
from services.gateway.response_cache.policy import CacheDirective

_KEY = "tidegate.exchange"


@dataclass(slots=True)
class RequestContext:
    """`status` may differ from the one that was sent: a stream can fail after its first byte.

    headers: of the request, by lower-case name; of one that stands twice, the last.
    """

    request_id: str
    started: float
    headers: dict[bytes, bytes]
    caller: Caller | None = None
    model: str = UNKNOWN_MODEL
    version: str = "none"
    status: int = 0
    limits: Headers = field(default_factory=list)
    wish: CacheDirective | None = None

    def header(self, name: str) -> str | None:
        """name: in lower case."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    def attach(self, scope: Scope) -> None:
        scope[_KEY] = self

    @staticmethod
    def of(scope: Scope) -> "RequestContext":
        exchange: RequestContext = scope[_KEY]
        return exchange


def caller_of(request: Request) -> Caller:
    """Returns who makes the request. Raises Unauthenticated when the request needed no key."""
    return identified(RequestContext.of(request.scope))
