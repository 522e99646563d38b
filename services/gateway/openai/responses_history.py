"""The conversation that a response continues: from stored responses to the input of the next, and back."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter

from services.gateway.openai.messages import MAX_MESSAGES
from services.gateway.openai.responses_input import (
    Input,
    Item,
    ItemReference,
    MessageItem,
    not_found,
)
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.stored_responses.stored_response import Document, StoredResponse, response_of
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
_CALLS = ("function_call", "custom_tool_call")


def referenced(items: Input) -> list[str]:
    """Returns the responses that references among the items lead to.

    Raises:
        NotFound: an item has no id of a stored item.
        InvalidRequest: they are too many.
    """
    found: dict[str, None] = {}
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, ItemReference):
            if (response_id := response_of(item.id)) is None:
                raise not_found(item.id, index)
            found[response_id] = None
    if len(found) > MAX_REFERENCED:
        raise InvalidRequest(f"The items of at most {MAX_REFERENCED} responses can be referred to.", param="input")
    return list(found)


def resolved(request: ResponsesRequest, stored: Iterable[StoredResponse]) -> ResponsesRequest:
    """Returns the request with the items that its references name.

    Raises:
        NotFound: there is no such item.
    """
    if isinstance(request.input, str):
        return request
    known = {
        document["id"]: document for response in stored for document in (*response.document["output"], *response.input)
    }
    items = list(request.input)
    for index, item in enumerate(items):
        if isinstance(item, ItemReference):
            if item.id not in known:
                raise not_found(item.id, index)
            items[index] = _ITEM.validate_python(known[item.id])
    return request.model_copy(update={"input": items})


def continued(request: ResponsesRequest, chain: Iterable[StoredResponse]) -> ResponsesRequest:
    """Returns the request with the conversation before it. Instructions of earlier responses are not carried over.

    Raises:
        InvalidRequest: together they have too many items.
    """
    items: list[Item | None] = []
    for response in chain:
        items += [_ITEM.validate_python(document) for document in _told(response)]
    own = [MessageItem(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    if len(items) + len(own) > MAX_MESSAGES:
        raise InvalidRequest(
            f"The conversation has more than {MAX_MESSAGES} items. Send what matters of it as 'input' instead.",
            param="previous_response_id",
            code="conversation_too_long",
        )
    return request.model_copy(update={"input": [*items, *own]})


def _told(response: StoredResponse) -> Iterable[Document]:
    """The items of one response. A call that was cut short is nothing that a model could go on from."""
    yield from response.input
    for document in response.document["output"]:
        if document["type"] not in _CALLS or document.get("status") == "completed":
            yield document


def input_documents(items: Input, response_id: str) -> list[Document]:
    """Returns the items of a request as they are stored and listed. An item without an id gets one."""
    suffix = response_id.partition("_")[2]
    given = [MessageItem(role="user", content=items)] if isinstance(items, str) else [item for item in items if item]
    documents = []
    for index, item in enumerate(given):
        document = _document(item)
        document["id"] = document.get("id") or f"{_PREFIXES[document['type']]}_{suffix}i{index:03x}"
        documents.append(document)
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
