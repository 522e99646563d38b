"""What a model generates, as the content of a message: thinking, text and tool use."""

from typing import Any

import orjson

from services.gateway.openai.responses_output import Call, Item, Output, Reasoning
from tidegate.worker.v1 import worker_pb2

Document = dict[str, Any]

SIGNATURE = "tidegate"
"""Clients send thinking back only if it is signed. Nobody here reads the signature."""
INVALID_JSON = "INVALID_JSON"
"""A call whose arguments are not a JSON object (the token limit cut it short) has them under this name."""

NOT_ENDED: Document = {"stop_reason": None, "stop_sequence": None, "stop_details": None, "container": None}
"""The fields that say why a message ended, and those that Anthropic's schema wants beside them."""
_CALLER = {"type": "direct"}
_NOT_COUNTED: Document = {"cache_creation": None, "inference_geo": None, "server_tool_use": None}
_TIERS = {"priority": "priority", "batch": "batch"}
_STOP_REASONS: dict[int, str] = {
    worker_pb2.FINISH_REASON_STOP: "end_turn",
    worker_pb2.FINISH_REASON_LENGTH: "max_tokens",
    worker_pb2.FINISH_REASON_TOOL_CALLS: "tool_use",
    worker_pb2.FINISH_REASON_CONTENT_FILTER: "refusal",
}


class MessageOutput:
    """Gathers the content of one message, and why it ended.

    Attributes:
        items: gathers the content; only its last item is open.
    """

    def __init__(self, answer_id: str, stops: list[str]) -> None:
        """Starts empty.

        Args:
            answer_id: of the message.
            stops: strings that end the answer.
        """
        self.items = Output(answer_id)
        self._stops = stops
        self._stopped_by = ""

    def note(self, delta: worker_pb2.Delta) -> None:
        """Notes which string ended the answer, if one did. delta: of any kind; most end nothing."""
        if delta.stop_reason in self._stops:
            self._stopped_by = delta.stop_reason

    def ending(self) -> Document:
        """Returns why the message ended, once all deltas were added."""
        reason = _STOP_REASONS.get(self.items.finish_reason, "end_turn")
        sequence = None
        if reason == "end_turn" and self._stopped_by:
            reason, sequence = "stop_sequence", self._stopped_by
        elif reason == "end_turn" and any(isinstance(item, Call) for item in self.items.items):
            reason = "tool_use"  # engines say "stop" after a call that the client forced
        return {**NOT_ENDED, "stop_reason": reason, "stop_sequence": sequence}

    def content(self) -> list[Document]:
        """Returns the content so far."""
        return [block(item) for item in self.items.items]


def block(item: Item) -> Document:
    """Returns an item as a content block."""
    if isinstance(item, Reasoning):
        return {"type": "thinking", "thinking": item.text, "signature": SIGNATURE}
    if isinstance(item, Call):
        return {
            "type": "tool_use",
            "id": item.call_id,
            "name": item.name,
            "input": _arguments(item.text),
            "caller": _CALLER,
        }
    return {"type": "text", "text": item.text, "citations": None}


def _arguments(text: str) -> Document:
    try:
        given = orjson.loads(text) if text.strip() else {}
    except orjson.JSONDecodeError:
        given = None
    return given if isinstance(given, dict) else {INVALID_JSON: text}


def usage(used: worker_pb2.Usage) -> Document:
    """Returns token counts as Anthropic shows them: tokens from the cache are not counted among the input tokens."""
    return {
        **_NOT_COUNTED,
        "input_tokens": used.prompt_tokens - used.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": used.cached_tokens,
        "output_tokens": used.completion_tokens,
        "output_tokens_details": {"thinking_tokens": used.reasoning_tokens},
    }


def tier(label: str) -> str:
    """Returns a service class as Anthropic names it. label: the class's own name."""
    return _TIERS.get(label, "standard")
