"""Bodies of requests about conversations."""

from typing import Annotated

from pydantic import Field

from services.gateway.openai.fields import Metadata, Request
from services.gateway.openai.messages import MAX_MESSAGES
from services.gateway.openai.responses_input import Items, MaybeItem


class CreateConversationRequest(Request):
    """Body of POST /v1/conversations."""

    items: Annotated[list[MaybeItem], Field(max_length=MAX_MESSAGES)] | None = None
    metadata: Metadata | None = None


class UpdateConversationRequest(Request):
    """Body of POST /v1/conversations/{id}. Null and an empty object remove the metadata."""

    metadata: Metadata | None


class AddItemsRequest(Request):
    """Body of POST /v1/conversations/{id}/items."""

    items: Items
