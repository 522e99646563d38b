"""What all endpoints that generate have in common, from the request to the response that will stream."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.generation_response import GenerationResponse
from services.gateway.http.connection.prompts_response import Asked, PromptsResponse
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.idempotency.idempotency import Idempotency
from services.gateway.http.idempotency.key import IdempotentRequest
from services.gateway.response_cache.cached_generations import CachedGenerations
from services.gateway.response_cache.policy import HEADER, CacheDirective
from services.gateway.resume import event_ids
from services.gateway.resume.resuming import Resuming
from services.shared.errors import InvalidRequest

Build = Callable[[dict[str, Any], RequestContext], Asked | list[Asked]]
"""Validates a decoded body. Returns what to generate, and how the endpoint shows it: a list if there may be several."""


class GenerationHandler:
    """Reads the body, honours the headers that concern caching, idempotency and resuming, and makes the response."""

    def __init__(
        self,
        generations: CachedGenerations,
        idempotency: Idempotency,
        resuming: Resuming,
        bodies: BodyReader,
        stall_timeout_s: float,
    ) -> None:
        self._generations, self._idempotency, self._resuming = generations, idempotency, resuming
        self._bodies, self._stall_timeout_s = bodies, stall_timeout_s

    async def respond(self, request: Request, build: Build, *, resumable: bool = True) -> Response:
        """Answers a request that generates.

        Args:
            request: the HTTP request, its body still unread.
            build: called with the body. It is not called when the idempotency key has a response already.
            resumable: whether the endpoint's streams carry event ids.

        Returns:
            The response to this request, or the one that its idempotency key had before.

        Raises:
            TidegateError: the request is wrong or cannot be taken now.
        """
        return self.answer(request, await self.read(request), build, resumable=resumable)

    async def read(self, request: Request) -> dict[str, Any]:
        """Returns the decoded body. Raises InvalidRequest."""
        context = RequestContext.of(request.scope)
        context.cache_directive = CacheDirective.of(context.header(HEADER))
        return await self._bodies.read(request)

    def answer(self, request: Request, body: dict[str, Any], build: Build, *, resumable: bool = True) -> Response:
        """Answers a request whose body was read. Its arguments, result and errors are those of `respond`."""
        context = RequestContext.of(request.scope)
        idempotent = IdempotentRequest.of(request, body)

        def make() -> Response:
            if idempotent and idempotent.after and not resumable:
                raise InvalidRequest("Streams of this API cannot be resumed.", param=event_ids.HEADER)
            built = build(body, context)
            asked = built if isinstance(built, list) else [built]
            if len(asked) > 1:
                return self._several(asked, idempotent)
            (generation, response_format), resumption = asked[0], None
            if idempotent and resumable:
                resumption = self._resuming.open(generation, idempotent.identity, idempotent.after)
            return GenerationResponse(self._generations, generation, response_format, self._stall_timeout_s, resumption)

        return self._idempotency.respond(request, idempotent, make) if idempotent else make()

    def _several(self, asked: list[Asked], idempotent: IdempotentRequest | None) -> Response:
        if idempotent and idempotent.after:
            raise InvalidRequest("A stream of several prompts cannot be resumed.", param=event_ids.HEADER)
        return PromptsResponse(self._generations, asked, self._stall_timeout_s)

    def answer_once(self, request: Request, body: dict[str, Any], make: Callable[[], Response]) -> Response:
        """Returns the response that `make` makes, or the one that the request's idempotency key had before."""
        idempotent = IdempotentRequest.of(request, body)
        return self._idempotency.respond(request, idempotent, make) if idempotent else make()
