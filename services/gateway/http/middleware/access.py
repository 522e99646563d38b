"""The outermost layer: gives every request an id, checks its key, and counts what came of it."""

import ipaddress
import logging
from random import Random

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.accounts.authentication import Authentication
from services.gateway.accounts.key_headers import KEY_HEADERS
from services.gateway.anthropic.errors import REQUEST_ID, is_anthropic
from services.gateway.domain.account import Caller
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.middleware.errors import error_response
from services.gateway.metrics import Metrics
from services.gateway.openai.ignored_fields import HEADER as IGNORED
from services.gateway.response_cache.policy import HEADER
from services.shared.clock import Clock
from services.shared.errors import InternalError, PermissionDenied, TidegateError

log = logging.getLogger(__name__)

# Nothing here tells anything of a tenant.
OPEN_PATHS = frozenset({"/livez", "/readyz", "/health", "/ping", "/version", "/openapi.json"})
LOOPBACK_PATHS = frozenset({"/metrics", "/load"})
ADMIN_PATHS = ("/v1/admin/", "/v1/tokenizer_info", "/tokenizer_info")
GENERATING_PATHS = ("/v1/", "/inference/")
_KEY_HEADERS = frozenset(name.encode() for name in KEY_HEADERS)


class AccessMiddleware:
    """Runs around all routes."""

    def __init__(
        self,
        app: ASGIApp,
        keys: Authentication,
        metrics: Metrics,
        clock: Clock,
        random: Random,
        *,
        open_paths: frozenset[str] = OPEN_PATHS,
    ) -> None:
        """Makes the middleware.

        Args:
            app: the REST API.
            keys: knows all keys.
            metrics: counts requests.
            clock: measures them.
            random: makes their ids.
            open_paths: paths that need no key.
        """
        self._app, self._keys, self._metrics = app, keys, metrics
        self._clock, self._random = clock, random
        self._open_paths = open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Runs one request; this is ASGI."""
        context = RequestContext(
            f"{self._random.getrandbits(128):032x}", self._clock.monotonic(), dict(scope["headers"])
        )
        context.attach(scope)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                context.status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_headers(context, scope)]
            await send(message)

        try:
            await self._admit(scope, receive, send_with_headers)
        except Exception:
            # FastAPI raises an error again after it has answered 500, so that it is logged here.
            log.exception("request failed", extra={"request_id": context.request_id})
            if not context.status:
                await error_response(InternalError(), scope)(scope, receive, send_with_headers)
        finally:
            self._count(scope, context)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if not self._is_open(scope):
                context = RequestContext.of(scope)
                caller = await self._keys.authenticate(_key_headers(scope))
                _authorise(caller, scope)
                context.caller = caller
            await self._app(scope, receive, send)
        except TidegateError as error:
            if RequestContext.of(scope).status:
                raise  # the response has started already
            await error_response(error, scope)(scope, receive, send)

    def _is_open(self, scope: Scope) -> bool:
        """Whether a path needs no key. All paths that are not named here need one."""
        path = scope["path"]
        return path in self._open_paths or (path in LOOPBACK_PATHS and _from_loopback(scope))

    def _count(self, scope: Scope, context: RequestContext) -> None:
        if context.unread:
            self._metrics.left_out(context.unread.labels)
        if scope["path"].startswith(GENERATING_PATHS) and scope["method"] == "POST":
            seconds = self._clock.monotonic() - context.started
            self._metrics.answered(context.model, context.status, seconds)


def _key_headers(scope: Scope) -> list[tuple[str, str]]:
    """A header that is there twice counts twice, so that no proxy before us can have checked another key than we do."""
    return [(name.decode(), value.decode("latin-1")) for name, value in scope["headers"] if name in _KEY_HEADERS]


def _headers(context: RequestContext, scope: Scope) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-request-id", context.request_id.encode()),
        (b"x-tidegate-model-version", context.version.encode("latin-1", "replace")),
        *((name.encode(), value.encode()) for name, value in context.limits),
        *([(HEADER.encode(), context.cache_directive.outcome.encode())] if context.cache_directive else []),
        *([(REQUEST_ID.encode(), context.request_id.encode())] if is_anthropic(scope["path"]) else []),
        *([(IGNORED.encode(), left_out.encode())] if (left_out := context.left_out) else []),
    ]


def _authorise(caller: Caller, scope: Scope) -> None:
    """All paths under /v1/admin, even those that do not exist, and what shows a chat template are for admin keys."""
    if scope["path"].startswith(ADMIN_PATHS) and caller.role != "admin":
        raise PermissionDenied("This needs an admin key.")


def _from_loopback(scope: Scope) -> bool:
    host, _ = scope.get("client") or ("", 0)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
