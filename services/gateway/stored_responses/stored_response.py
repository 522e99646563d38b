"""One stored response, and the items that were its input."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

Document = dict[str, Any]
Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
OPEN: tuple[Status, ...] = ("queued", "in_progress")
"""Statuses of responses that are still made."""
ANSWERED: tuple[Status, ...] = ("completed", "incomplete")
"""Statuses of responses that a conversation goes on from."""
_CALLS = ("function_call", "custom_tool_call")
_ID = re.compile(r"resp_[0-9a-f]{32}")
_ITEM_ID = re.compile(r"[a-z]{1,16}_([0-9a-f]{32})i?[0-9a-f]{2,4}")


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as the database has it.

    Attributes:
        id: of the response.
        tenant: owns it.
        created: seconds since 1970.
        status: what became of it.
        previous: id of the response that it continues.
        conversation: id of the conversation that it continues, and that its turn is added to. It is not read back.
        background: it is made without a client that waits.
        document: as clients see it.
        input: the items that were sent with it, each with an id. Those of earlier responses are not among them.
    """

    id: str
    tenant: str
    created: float
    status: Status
    document: Document
    input: list[Document] = field(default_factory=list)
    previous: str | None = None
    background: bool = False
    conversation: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it will not change any more."""
        return self.status not in OPEN

    def items(self) -> Iterator[Document]:
        """Yields its items: what was sent with it, and its output."""
        yield from self.input
        yield from self.document["output"]

    def told(self) -> Iterator[Document]:
        """Yields its items, as the next response reads them. A call that was cut short is nothing to go on from."""
        yield from self.input
        for item in self.document["output"]:
            if item["type"] not in _CALLS or item.get("status") == "completed":
                yield item

    def shown(self) -> Document:
        """Returns the response as clients see it."""
        shown = {**self.document, "status": self.status}
        if self.status == "failed" and not shown.get("error"):
            shown["error"] = {"code": "server_error", "message": "The gateway that made the response has stopped."}
        return shown


def is_id(text: str) -> bool:
    """Whether a text may be the id of a response."""
    return _ID.fullmatch(text) is not None


def is_item_id(text: str) -> bool:
    """Whether a text may be the id of an item that is stored here."""
    return _ITEM_ID.fullmatch(text) is not None


def response_of(item_id: str) -> str | None:
    """Returns the id of the response that an item belongs to; None if no response here has such an item."""
    found = _ITEM_ID.fullmatch(item_id)
    return f"resp_{found[1]}" if found else None
