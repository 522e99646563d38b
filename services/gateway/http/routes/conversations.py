"""/v1/conversations: lists of items that responses continue and add to."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.gateway.http.connection.body import BodyReader
from services.gateway.http.connection.request_context import RequestContext, caller_of
from services.gateway.http.routes.item_page import Page, page_of
from services.gateway.http.routes.rest_router import RestRouter
from services.gateway.http.routes.storage import database_errors
from services.gateway.openai.conversation_requests import (
    AddItemsRequest,
    CreateConversationRequest,
    UpdateConversationRequest,
)
from services.gateway.openai.request_builder import RequestBuilder
from services.gateway.openai.responses_history import input_documents, referenced, resolved
from services.gateway.openai.responses_input import Item
from services.gateway.stored_responses.conversation import Conversation
from services.gateway.stored_responses.store import StoredResponses
from services.gateway.stored_responses.stored_response import Document
from services.shared.errors import NotConfigured

ITEM: dict[str, Any] = {"type": "message", "role": "user", "content": "What is a neap tide?"}
EXAMPLE: dict[str, Any] = {"items": [ITEM], "metadata": {"topic": "tides"}}
UPDATE_EXAMPLE: dict[str, Any] = {"metadata": {"topic": "the moon"}}
ITEMS_EXAMPLE: dict[str, Any] = {"items": [ITEM]}


class ConversationRoutes:
    """OpenAI's Conversations API."""

    def __init__(self, builder: RequestBuilder, bodies: BodyReader, store: StoredResponses | None) -> None:
        """Makes the routes.

        Args:
            builder: validates requests.
            bodies: reads them.
            store: keeps conversations with the stored responses; None: the operator wants none to be kept.
        """
        self._builder, self._bodies, self._store = builder, bodies, store

    def router(self) -> RestRouter:
        """Returns the routes of this resource."""
        router = RestRouter(prefix="/v1/conversations")
        add = router.add_api_route
        router.add_json_post("", self.create, CreateConversationRequest, EXAMPLE)
        add("/{conversation_id}", self.show, methods=["GET"])
        router.add_json_post("/{conversation_id}", self.update, UpdateConversationRequest, UPDATE_EXAMPLE)
        add("/{conversation_id}", self.delete, methods=["DELETE"])
        router.add_json_post("/{conversation_id}/items", self.add_items, AddItemsRequest, ITEMS_EXAMPLE)
        add("/{conversation_id}/items", self.list_items, methods=["GET"])
        add("/{conversation_id}/items/{item_id}", self.show_item, methods=["GET"])
        add("/{conversation_id}/items/{item_id}", self.delete_item, methods=["DELETE"])
        return router

    async def create(self, request: Request) -> Response:
        """Makes a conversation, which may have items already."""
        body, context = await self._bodies.read(request), RequestContext.of(request.scope)
        asked = self._builder.read(CreateConversationRequest, body, context)
        tenant = caller_of(request).tenant
        made = Conversation(f"conv_{context.request_id}", tenant, self._builder.clock.wall(), asked.metadata or {})
        async with database_errors():
            documents = await self._documents(asked.items or (), context, tenant)
            await self._kept().conversations.create(made, documents)
        return JSONResponse(made.shown())

    async def show(self, conversation_id: str, request: Request) -> Response:
        """Shows a conversation without its items."""
        async with database_errors():
            found = await self._kept().conversations.get(caller_of(request).tenant, conversation_id)
        return JSONResponse(found.shown())

    async def update(self, conversation_id: str, request: Request) -> Response:
        """Replaces the metadata of a conversation."""
        body, context = await self._bodies.read(request), RequestContext.of(request.scope)
        metadata = self._builder.read(UpdateConversationRequest, body, context).metadata or {}
        async with database_errors():
            changed = await self._kept().conversations.relabel(caller_of(request).tenant, conversation_id, metadata)
        return JSONResponse(changed.shown())

    async def delete(self, conversation_id: str, request: Request) -> Response:
        """Deletes a conversation with its items; responses that belonged to it stay."""
        async with database_errors():
            await self._kept().conversations.delete(caller_of(request).tenant, conversation_id)
        return JSONResponse({"id": conversation_id, "object": "conversation.deleted", "deleted": True})

    async def add_items(self, conversation_id: str, request: Request) -> Response:
        """Adds items at the end of a conversation, and lists them."""
        body, context = await self._bodies.read(request), RequestContext.of(request.scope)
        asked, tenant = self._builder.read(AddItemsRequest, body, context), caller_of(request).tenant
        async with database_errors():
            documents = await self._documents(asked.items, context, tenant)
            await self._kept().conversations.add(tenant, conversation_id, documents)
        return JSONResponse(page_of(documents, more=False))

    async def list_items(self, conversation_id: str, request: Request, page: Page) -> Response:
        """Lists the items of a conversation, the last one first."""
        async with database_errors():
            items, more = await self._kept().conversations.page(
                caller_of(request).tenant,
                conversation_id,
                after=page.after,
                limit=page.limit,
                newest_first=page.newest_first,
            )
        return JSONResponse(page_of(items, more=more))

    async def show_item(self, conversation_id: str, item_id: str, request: Request) -> Response:
        """Shows one item."""
        async with database_errors():
            found = await self._kept().conversations.item(caller_of(request).tenant, conversation_id, item_id)
        return JSONResponse(found)

    async def delete_item(self, conversation_id: str, item_id: str, request: Request) -> Response:
        """Deletes one item, and shows the conversation."""
        async with database_errors():
            left = await self._kept().conversations.delete_item(caller_of(request).tenant, conversation_id, item_id)
        return JSONResponse(left.shown())

    async def _documents(self, items: Sequence[Item | None], context: RequestContext, tenant: str) -> list[Document]:
        """Returns the items of a request as they are stored. References become copies of what they name."""
        found = self._builder.open_items(items, "items", context)
        if names := referenced(found, "items"):
            stored = await self._kept().find(tenant, names)
            found = resolved(found, "items", (item for each in stored for item in each.items()))
        return input_documents(found, context.request_id, renamed=True)

    def _kept(self) -> StoredResponses:
        if self._store is None:
            raise NotConfigured("Conversations are not stored here.")
        return self._store
