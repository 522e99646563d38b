"""Messages as clients of Anthropic's API receive them, whole and streamed."""

import json
from typing import Any

import pytest

from services.gateway.anthropic.message_events import MessageDocument, MessageStream
from services.gateway.generation.event_stream import GenerationHeader
from services.shared.errors import QueueFull
from tidegate.worker.v1 import worker_pb2

HEAD = GenerationHeader("msg_ab", 5, "m", "default", "v1", prompt_tokens=7, cached_tokens=4)
USED = worker_pb2.Usage(prompt_tokens=7, cached_tokens=4, completion_tokens=6, reasoning_tokens=2)
STOP, LENGTH = worker_pb2.FINISH_REASON_STOP, worker_pb2.FINISH_REASON_LENGTH
DELTAS = [
    worker_pb2.Delta(reasoning="h"),
    worker_pb2.Delta(reasoning="m"),
    worker_pb2.Delta(text='say "'),
    worker_pb2.Delta(text="x"),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, id="c1", name="look", arguments='{"a":')]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, arguments="1}")]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=1, id="c2", name="look")]),
    worker_pb2.Delta(finish_reason=worker_pb2.FINISH_REASON_TOOL_CALLS),
]
CONTENT = [
    {"type": "thinking", "thinking": "hm", "signature": "tidegate"},
    {"type": "text", "text": 'say "x', "citations": None},
    {"type": "tool_use", "id": "c1", "name": "look", "input": {"a": 1}, "caller": {"type": "direct"}},
    {"type": "tool_use", "id": "c2", "name": "look", "input": {}, "caller": {"type": "direct"}},
]


def document(*deltas: worker_pb2.Delta, stops: list[str] | None = None) -> dict[str, Any]:
    builder = MessageDocument(HEAD.id, stops or [])
    builder.add(deltas)
    return builder.document(HEAD, USED)


def events(data: bytes) -> list[dict[str, Any]]:
    """All events; each has the name that its data has."""
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        name, body = block.split("\n")
        found.append(json.loads(body.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def streamed(*deltas: worker_pb2.Delta, stops: list[str] | None = None) -> list[dict[str, Any]]:
    stream = MessageStream(HEAD, "ab", stops or [])
    return events(b"".join(stream.open()) + stream.frames(deltas) + stream.close(USED))


def test_a_whole_message() -> None:
    assert document(*DELTAS) == {
        "id": "msg_ab",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": CONTENT,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
        "usage": {
            "cache_creation": None,
            "inference_geo": None,
            "server_tool_use": None,
            "input_tokens": 3,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 4,
            "output_tokens": 6,
            "output_tokens_details": {"thinking_tokens": 2},
            "service_tier": "standard",
        },
    }


def test_the_events_of_a_stream_build_the_same_message() -> None:
    start, ping, *between, ended, stop = streamed(*DELTAS)
    assert start["message"]["content"] == []
    assert (start["message"]["usage"]["input_tokens"], start["message"]["usage"]["cache_read_input_tokens"]) == (3, 4)
    assert (ping, stop) == ({"type": "ping"}, {"type": "message_stop"})
    assert ended["delta"] == {
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "stop_details": None,
        "container": None,
    }
    assert (ended["usage"]["output_tokens"], ended["usage"]["input_tokens"]) == (6, 3)
    built: list[dict[str, Any]] = []
    for event in between:
        if event["type"] == "content_block_start":
            assert event["index"] == len(built)
            built.append(dict(event["content_block"], json=""))
            continue
        block = built[event["index"]]
        match event.get("delta"):
            case {"type": "text_delta", "text": text}:
                block["text"] += text
            case {"type": "thinking_delta", "thinking": text}:
                block["thinking"] += text
            case {"type": "signature_delta", "signature": text}:
                block["signature"] += text
            case {"type": "input_json_delta", "partial_json": text}:
                block["json"] += text
            case _:
                assert event["type"] == "content_block_stop"
    for block in built:
        if arguments := block.pop("json"):
            block["input"] = json.loads(arguments)
    assert built == CONTENT


@pytest.mark.parametrize(
    ("delta", "ending"),
    [
        (worker_pb2.Delta(text="a", finish_reason=STOP), ("end_turn", None)),
        (worker_pb2.Delta(text="a", finish_reason=LENGTH), ("max_tokens", None)),
        (worker_pb2.Delta(text="a", finish_reason=STOP, stop_reason="END"), ("stop_sequence", "END")),
        (worker_pb2.Delta(text="a", finish_reason=STOP, stop_reason="42"), ("end_turn", None)),
        (worker_pb2.Delta(text="a", finish_reason=worker_pb2.FINISH_REASON_CONTENT_FILTER), ("refusal", None)),
        (
            worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(id="c", name="look")], finish_reason=STOP),
            ("tool_use", None),
        ),
    ],
)
def test_why_a_message_ended(delta: worker_pb2.Delta, ending: tuple[str, str | None]) -> None:
    whole = document(delta, stops=["END"])
    told = streamed(delta, stops=["END"])[-2]["delta"]
    assert (whole["stop_reason"], whole["stop_sequence"]) == ending
    assert (told["stop_reason"], told["stop_sequence"]) == ending


def test_an_answer_without_text_has_no_content() -> None:
    assert document(worker_pb2.Delta(finish_reason=STOP))["content"] == []
    kinds = [event["type"] for event in streamed(worker_pb2.Delta(finish_reason=STOP))]
    assert kinds == ["message_start", "ping", "message_delta", "message_stop"]


def test_arguments_that_were_cut_short_are_not_lost() -> None:
    call = worker_pb2.ToolCallDelta(id="c", name="look", arguments='{"a": [1')
    [block] = document(worker_pb2.Delta(tool_calls=[call], finish_reason=LENGTH))["content"]
    assert block["input"] == {"INVALID_JSON": '{"a": [1'}


def test_a_stream_that_fails_ends_with_an_error() -> None:
    [error] = events(MessageStream(HEAD, "ab", []).fail(QueueFull("The queue is full.")))
    assert error == {
        "type": "error",
        "error": {"type": "overloaded_error", "message": "The queue is full."},
        "request_id": "ab",
    }
