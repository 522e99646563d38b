"""The conversation that a response continues: from stored responses to the input of the next, and back."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter

from services.gateway.openai.messages import MAX_MESSAGES
from services.gateway.openai.responses_input import (
    Input,
    Item,
    ItemReference,
    MessageItem,
    answers_no_call,
    not_found,
    stray_output,
)
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.stored_responses.stored_response import Document, response_of
from services.shared.errors import InvalidRequest

MAX_REFERENCED = 64
"""Most responses whose items one request may refer to."""
_ITEM: TypeAdapter[Item] = TypeAdapter(Item)
_PREFIXES = {
    "message": "msg",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "ctco",
    "reasoning": "rs",
}


def referenced(items: Sequence[Item | None], place: str) -> list[str]:
    """Returns the responses that references among the items lead to. place: the field that has the items.

    Raises:
        NotFound: an item has no id of a stored item.
        InvalidRequest: they are too many.
    """
    found: dict[str, None] = {}
    for index, item in enumerate(items):
        if isinstance(item, ItemReference):
            if (response_id := response_of(item.id)) is None:
                raise not_found(item.id, f"{place}[{index}]")
            found[response_id] = None
    if len(found) > MAX_REFERENCED:
        raise InvalidRequest(f"The items of at most {MAX_REFERENCED} responses can be referred to.", param=place)
    return list(found)


def resolved(items: Sequence[Item | None], place: str, stored: Iterable[Document]) -> list[Item | None]:
    """Returns items with those that their references name.

    Args:
        items: of a request.
        place: the field that has them.
        stored: the items that may be named.

    Raises:
        NotFound: there is no such item.
    """
    known = {document["id"]: document for document in stored}
    found = list(items)
    for index, item in enumerate(items):
        if isinstance(item, ItemReference):
            if item.id not in known:
                raise not_found(item.id, f"{place}[{index}]")
            found[index] = _ITEM.validate_python(known[item.id])
    return found


def continued(request: ResponsesRequest, earlier: Iterable[Document], param: str) -> ResponsesRequest:
    """Returns the request with the conversation before it. Instructions of earlier responses are not carried over.

    Args:
        request: with its own input.
        earlier: the items before it.
        param: the field that named them.

    Raises:
        InvalidRequest: together they have too many items, or an output among them answers no call.
    """
    items: list[Item | None] = [_ITEM.validate_python(document) for document in earlier]
    own = [MessageItem(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    if len(items) + len(own) > MAX_MESSAGES:
        raise InvalidRequest(
            f"The conversation has more than {MAX_MESSAGES} items. Send what matters of it as 'input' instead.",
            param=param,
            code="conversation_too_long",
        )
    whole = [*items, *own]
    if (stray := stray_output(whole)) is not None:
        if stray >= len(items):
            raise answers_no_call(stray - len(items))
        item = items[stray]
        raise InvalidRequest(
            f"The item '{item.id if item else None}' of the conversation answers no call before it. Delete it.",
            param=param,
            code="invalid_value",
        )
    return request.model_copy(update={"input": whole})


def input_documents(items: Input, request_id: str, *, renamed: bool = False) -> list[Document]:
    """Returns the items of a request as they are stored and listed. An item without an id gets one.

    Args:
        items: of the request.
        request_id: id of the request, or of its response.
        renamed: every item gets an id of its own, for in a conversation no two may have the same.
    """
    suffix = request_id.rpartition("_")[2]
    given = [MessageItem(role="user", content=items)] if isinstance(items, str) else [item for item in items if item]
    documents = []
    for index, item in enumerate(given):
        document = _document(item)
        own_id = f"{_PREFIXES[document['type']]}_{suffix}i{index:03x}"
        documents.append({**document, "id": own_id if renamed else document.get("id") or own_id})
    return documents


def _document(item: Item) -> Document:
    document = item.model_dump(mode="json", exclude_none=True)
    if isinstance(item, MessageItem):
        document = {"status": "completed", **document, "type": "message", "content": _parts(item)}
    return document


def _parts(item: MessageItem) -> list[Mapping[str, Any]]:
    if not isinstance(item.content, str):
        parts = [part.model_dump(mode="json", exclude_none=True) for part in item.content]
        return [{"annotations": [], **part} if part["type"] == "output_text" else part for part in parts]
    kind = "output_text" if item.role == "assistant" else "input_text"
    extra: dict[str, Any] = {"annotations": []} if item.role == "assistant" else {}
    return [{"type": kind, "text": item.content, **extra}]
