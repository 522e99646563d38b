"""Fields that responses of chat completions and completions share: header, finish reason, usage."""

from typing import Any

from services.gateway.generation.event_stream import GenerationHeader
from tidegate.worker.v1 import worker_pb2

FINISH_REASONS: dict[int, str | None] = {
    worker_pb2.FINISH_REASON_UNSPECIFIED: None,
    worker_pb2.FINISH_REASON_STOP: "stop",
    worker_pb2.FINISH_REASON_LENGTH: "length",
    worker_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
    worker_pb2.FINISH_REASON_CONTENT_FILTER: "content_filter",
}


def stop_reason(delta: worker_pb2.Delta) -> str | int | None:
    """Returns the stop string, or the id of the stop token, that ended a choice; None if neither did."""
    return delta.stop_token_id if delta.HasField("stop_token_id") else delta.stop_reason or None


def usage(used: worker_pb2.Usage) -> dict[str, Any]:
    """Returns token counts as OpenAI shows them."""
    return {
        "prompt_tokens": used.prompt_tokens,
        "completion_tokens": used.completion_tokens,
        "total_tokens": used.prompt_tokens + used.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": used.cached_tokens},
        "completion_tokens_details": {
            "reasoning_tokens": used.reasoning_tokens,
            "accepted_prediction_tokens": used.accepted_draft_tokens,
        },
    }


def header_fields(header: GenerationHeader, kind: str) -> dict[str, Any]:
    """Returns a header as OpenAI shows it. The fingerprint is short, because every event repeats it.

    Args:
        header: of the generation.
        kind: the value of `object`.
    """
    return {
        "id": header.id,
        "object": kind,
        "created": header.created,
        "model": header.model,
        "service_tier": header.service_tier,
        "system_fingerprint": f"fp_{header.version[:12]}",
    }
