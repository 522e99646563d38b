"""One conversation: a list of items that responses read and add to. Its items are stored apart."""

import re
from dataclasses import dataclass
from typing import Any

_ID = re.compile(r"conv_[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its items.

    Attributes:
        id: of the conversation.
        tenant: owns it.
        created: seconds since 1970.
        metadata: the client's own labels.
    """

    id: str
    tenant: str
    created: float
    metadata: dict[str, str]

    def shown(self) -> dict[str, Any]:
        """Returns the conversation as clients see it."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": int(self.created),
            "metadata": self.metadata,
        }


def is_conversation_id(text: str) -> bool:
    """Whether a text may be the id of a conversation."""
    return _ID.fullmatch(text) is not None
