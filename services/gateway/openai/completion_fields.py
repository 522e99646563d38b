"""Fields that responses of chat completions and completions share: header, finish reason, usage."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.generation.progress import VersionSpan
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


def version_spans(spans: Sequence[VersionSpan]) -> dict[str, Any]:
    """Returns the field that says which tokens came from which version; no field if all came from one.

    Args:
        spans: of one choice, or of an answer that has one.
    """
    if not spans:
        return {}
    shown = [{"version": s.version, "first_token": s.first_token, "completion_tokens": s.tokens} for s in spans]
    return {"version_spans": shown}


def version_spans_at_end(spans: Sequence[VersionSpan], used: worker_pb2.Usage) -> dict[str, Any]:
    """Returns the same field once an answer with one choice is complete.

    Args:
        spans: when its last version began to answer.
        used: the counts of the whole answer.
    """
    if not spans:
        return {}
    last = replace(spans[-1], tokens=used.completion_tokens - spans[-1].first_token)
    return version_spans((*spans[:-1], last))


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
