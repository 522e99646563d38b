"""/v1/responses: made, read again, continued and deleted."""

from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from services.gateway.background.background_responses import BackgroundResponses
from services.gateway.domain.generation import Generation
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.http.connection.request_context import RequestContext, caller_of
from services.gateway.http.generation_handler import GenerationHandler
from services.gateway.http.kept_response import KeptResponse
from services.gateway.http.routes.item_page import Page
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.http.routes.storage import database_errors
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.responses_events import ResponseDocument, ResponseStream, Shape
from services.gateway.openai.responses_history import continued, input_documents, referenced, resolved
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.stored_responses.conversations import IN_REQUEST
from services.gateway.stored_responses.store import PREVIOUS, StoredResponses, TooLargeToStore
from services.gateway.stored_responses.stored_response import Document, StoredResponse
from services.shared.errors import InvalidRequest, NotConfigured, TooLarge, UnknownRoute

EXAMPLE: dict[str, Any] = {"model": "chat", "instructions": "Be brief.", "input": "What is a neap tide?"}


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a response.

    Attributes:
        own: as it was sent, with the items that it refers to.
        whole: with the conversation before it.
    """

    own: ResponsesRequest
    whole: ResponsesRequest


class ResponseRoutes:
    """OpenAI's Responses API. Streams of responses cannot be resumed by their event ids."""

    def __init__(
        self,
        builder: RequestBuilder,
        generations: GenerationHandler,
        store: StoredResponses | None,
        background: BackgroundResponses | None,
    ) -> None:
        """Makes the routes.

        Args:
            builder: validates requests.
            generations: answers them.
            store: keeps responses; None: the operator wants none to be kept.
            background: makes those that nobody waits for; there if `store` is.
        """
        self._builder, self._generations = builder, generations
        self._store, self._background = store, background

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter()
        add = router.add_api_route
        router.add_json_post("/v1/responses", self.respond, ResponsesRequest, EXAMPLE)
        # By itself the path would be one of a response that takes no POST.
        add("/v1/responses/compact", self.compact, methods=["POST"], include_in_schema=False)
        add("/v1/responses/{response_id}", self.show, methods=["GET"])
        add("/v1/responses/{response_id}", self.delete, methods=["DELETE"])
        add("/v1/responses/{response_id}/cancel", self.cancel, methods=["POST"])
        add("/v1/responses/{response_id}/input_items", self.list_input, methods=["GET"])
        return router

    async def respond(self, request: Request) -> Response:
        """Generates a response to input items, and to the conversation that they continue."""
        body, context = await self._generations.read(request), RequestContext.of(request.scope)
        asked = await self._looked_up(self._builder.read_response(body, context), context)

        if asked.own.background and self._background:
            background = self._background
            return self._generations.answer_once(request, body, lambda: self._begun(asked, background, context))

        def build(_body: dict[str, Any], context: RequestContext) -> tuple[Generation, ResponseFormat]:
            return self._build(asked, context)

        return self._generations.answer(request, body, build, resumable=False)

    async def compact(self) -> Response:
        """Refuses OpenAI's endpoint that makes one item of many."""
        raise UnknownRoute(
            "Unknown request URL: POST /v1/responses/compact. Inputs are not compacted here: send the items that the "
            "model is to read."
        )

    async def show(self, response_id: str, request: Request, stream: bool = False) -> Response:
        """Shows a stored response."""
        if stream:
            raise InvalidRequest("Stored responses are not streamed: leave out 'stream'.", param="stream")
        async with database_errors():
            stored = await self._kept().get(caller_of(request).tenant, response_id)
        return JSONResponse(stored.shown())

    async def delete(self, response_id: str, request: Request) -> Response:
        """Deletes a stored response."""
        async with database_errors():
            await self._kept().delete(caller_of(request).tenant, response_id)
        self._stop(response_id)
        return JSONResponse({"id": response_id, "object": "response", "deleted": True})

    async def cancel(self, response_id: str, request: Request) -> Response:
        """Cancels a response that is made in the background. One that has ended stays as it is."""
        async with database_errors():
            stored = await self._kept().cancel(caller_of(request).tenant, response_id)
        if stored.status == "cancelled":
            self._stop(response_id)
        return JSONResponse(stored.shown())

    async def list_input(self, response_id: str, request: Request, page: Page) -> Response:
        """Lists the items that were sent for a response, the last one first."""
        async with database_errors():
            items = (await self._kept().get(caller_of(request).tenant, response_id)).input
        return JSONResponse(page.chosen(items))

    async def _looked_up(self, request: ResponsesRequest, context: RequestContext) -> Asked:
        """Returns a request together with what it needs of stored responses and of its conversation."""
        if self._store is None:
            request.check_stands_alone("previous_response_id", "conversation", "background", "store")
            return Asked(request, request)
        tenant = context.caller.tenant if context.caller else ""
        async with database_errors():
            earlier = await _earlier(request, self._store, tenant)
            own = await _with_referenced(request, self._store, tenant, earlier or [])
        if earlier is None:
            return Asked(own, own)
        return Asked(own, continued(own, earlier, IN_REQUEST if request.conversation else PREVIOUS))

    def _build(self, asked: Asked, context: RequestContext) -> tuple[Generation, ResponseFormat]:
        keeps = self._store is not None and asked.own.store is not False
        generation, shape = self._builder.response(asked.whole, context, stored=keeps)
        clock = self._builder.clock
        if self._store is not None and keeps:
            return generation, KeptResponse(self._blank(asked, generation), shape, clock, self._store).format()
        return generation, ResponseFormat(
            stream=lambda header, _choices, _usage: ResponseStream(header, shape, clock),
            document=lambda _choices: ResponseDocument(shape, generation.id, clock),
        )

    def _begun(self, asked: Asked, background: BackgroundResponses, context: RequestContext) -> Response:
        generation, shape = self._builder.response(asked.whole, context, stored=True)
        context.model = generation.model.id
        return BegunResponse(background, generation, shape, self._blank(asked, generation))

    def _blank(self, asked: Asked, generation: Generation) -> StoredResponse:
        """What is known of a response before it begins."""
        return StoredResponse(
            id=generation.id,
            tenant=generation.caller.tenant,
            created=self._builder.clock.wall(),
            status="in_progress",
            document={},
            input=input_documents(asked.own.input, generation.id, renamed=asked.own.conversation is not None),
            previous=asked.own.previous_response_id,
            background=bool(asked.own.background),
            conversation=asked.own.conversation_id,
        )

    def _stop(self, response_id: str) -> None:
        if self._background:
            self._background.stop_one(response_id)

    def _kept(self) -> StoredResponses:
        if self._store is None:
            raise NotConfigured("Responses are not stored here.")
        return self._store


async def _earlier(request: ResponsesRequest, store: StoredResponses, tenant: str) -> list[Document] | None:
    """Returns the items before those of the request; None if it continues nothing."""
    if request.conversation_id is not None:
        return await store.conversations.history(tenant, request.conversation_id)
    if request.previous_response_id is not None:
        return [item for each in await store.chain(tenant, request.previous_response_id) for item in each.told()]
    return None


async def _with_referenced(
    request: ResponsesRequest, store: StoredResponses, tenant: str, earlier: list[Document]
) -> ResponsesRequest:
    """Returns the request with the items that it refers to. earlier: items that it may refer to as well."""
    if isinstance(request.input, str) or not (names := referenced(request.input, "input")):
        return request
    known = [item for each in await store.find(tenant, names) for item in each.items()]
    return request.model_copy(update={"input": resolved(request.input, "input", [*known, *earlier])})


class BegunResponse(Response):
    """Begins a response in the background, and sends what it is now."""

    def __init__(
        self, background: BackgroundResponses, generation: Generation, shape: Shape, blank: StoredResponse
    ) -> None:
        self._responses, self._generation, self._shape, self._blank = background, generation, shape, blank
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response; this is ASGI."""
        try:
            async with database_errors():
                document = await self._responses.begin(self._generation, self._shape, self._blank)
        except TooLargeToStore:
            raise TooLarge("The request is too large for a response in the background.", param="input") from None
        await JSONResponse(document)(scope, receive, send)
