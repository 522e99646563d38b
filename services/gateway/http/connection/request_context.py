"""What is noted about one HTTP request while it passes through the gateway: for headers, metrics and logs."""

from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.types import Scope

from services.gateway.domain.account import Caller
from services.gateway.metrics import UNKNOWN_MODEL
from services.gateway.openai.canary_header import HEADER as CANARY_HEADER
from services.gateway.openai.canary_header import asks_for_canary
from services.gateway.openai.ignored_fields import STRICT_HEADER, IgnoredFields, also_ignored
from services.gateway.openai.limit_headers import Headers
from services.gateway.openai.request_builder import identified
from services.gateway.response_cache.policy import CacheDirective

_STRICT = STRICT_HEADER.encode()
_KEY = "tidegate.request_context"


@dataclass(slots=True)
class RequestContext:
    """One HTTP request.

    Attributes:
        request_id: 32 hexadecimal digits, made by this gateway.
        started: when the request came, on the monotonic clock.
        headers: headers of the request by lower-case name. If a header is there twice, its last value.
        caller: who makes the request; None on paths that need no key.
        model: name of the model in the catalog, once it is known.
        version: version of the model's weights, once it is known.
        status: the status to count. It differs from the one sent when a stream fails after its first byte.
        limits: headers that tell the state of the caller's limits.
        cache_directive: what the request asks of the response cache, and what came of it.
        ignored: the header that names what was left out of the request's body.
        unread: query parameters that the path does not have; None: there are none.
    """

    request_id: str
    started: float
    headers: dict[bytes, bytes]
    caller: Caller | None = None
    model: str = UNKNOWN_MODEL
    version: str = "none"
    status: int = 0
    limits: Headers = field(default_factory=list)
    cache_directive: CacheDirective | None = None
    ignored: str = ""
    unread: IgnoredFields | None = None

    @property
    def strict(self) -> bool:
        """Whether the request asks that unknown fields be refused."""
        return self.headers.get(_STRICT) == b"true"

    @property
    def wants_canary(self) -> bool:
        """Whether the request asks for the version that is on trial."""
        return asks_for_canary(self.header(CANARY_HEADER))

    @property
    def traceparent(self) -> str:
        """W3C trace context of the client; empty: it sent none."""
        value = self.headers.get(b"traceparent")
        return value.decode("latin-1") if value else ""

    def header(self, name: str) -> str | None:
        """Returns a header of the request. name: in lower case."""
        value = self.headers.get(name.encode())
        return None if value is None else value.decode("latin-1")

    @property
    def left_out(self) -> str:
        """The header that names all that was left out of the request; empty if nothing was."""
        if self.unread is None:
            return self.ignored
        return also_ignored(self.ignored, self.unread.header().split(", "))

    def attach(self, scope: Scope) -> None:
        """Stores the context in the request's ASGI scope."""
        scope[_KEY] = self

    @staticmethod
    def of(scope: Scope) -> "RequestContext":
        """Returns the context that `attach` stored."""
        context: RequestContext = scope[_KEY]
        return context


def caller_of(request: Request) -> Caller:
    """Returns who makes the request. Raises Unauthenticated when the request needed no key."""
    return identified(RequestContext.of(request.scope))
