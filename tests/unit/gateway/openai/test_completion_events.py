import json
from typing import Any

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.openai.completion_events import ChatStream, CompletionStream
from tidegate.worker.v1 import worker_pb2

HEAD = GenerationHeader("chatcmpl-1", 1_700_000_000, '"@" model', "flex", "v1")
USED = worker_pb2.Usage(prompt_tokens=3, completion_tokens=2)


def events(data: bytes) -> list[Any]:
    lines = data.decode().split("\n\n")
    assert lines.pop() == ""
    assert all(line.startswith("data: ") for line in lines)
    return [line[6:] if line == "data: [DONE]" else json.loads(line[6:]) for line in lines]


def test_text_between_prebuilt_parts() -> None:
    stream = ChatStream(HEAD, 2, include_usage=False)
    awkward = 'say "@"\n\u2028 \U0001f30a \\'
    deltas = [
        worker_pb2.Delta(choice=1, text=awkward),
        worker_pb2.Delta(choice=0, text="@"),
        worker_pb2.Delta(choice=0),
    ]
    first, second = events(stream.frames(deltas))
    assert first == {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": '"@" model',
        "service_tier": "flex",
        "system_fingerprint": "fp_v1",
        "choices": [{"index": 1, "delta": {"content": awkward}, "logprobs": None, "finish_reason": None}],
    }
    assert second["choices"][0]["delta"] == {"content": "@"}


def test_opening_and_closing() -> None:
    stream = ChatStream(HEAD, 2, include_usage=True)
    roles = events(b"".join(stream.open()))
    assert [event["choices"][0]["index"] for event in roles] == [0, 1]
    assert {event["choices"][0]["delta"]["role"] for event in roles} == {"assistant"}
    assert all(event["usage"] is None for event in roles)
    last = worker_pb2.Delta(text="end", finish_reason=worker_pb2.FINISH_REASON_LENGTH)
    [finish] = events(stream.frames([last]))
    assert finish["choices"][0]["finish_reason"] == "length"
    assert finish["choices"][0]["delta"] == {"content": "end"}
    used, done = events(stream.close(USED))
    assert (used["choices"], used["usage"]["total_tokens"]) == ([], 5)
    assert done == "[DONE]"
    assert events(ChatStream(HEAD, 1, include_usage=False).close(USED)) == ["[DONE]"]


def test_completion_logprobs_keep_offsets_across_deltas() -> None:
    stream = CompletionStream(HEAD, 1, include_usage=False)
    offsets = []
    for text in ("ab", "cde", "f"):
        delta = worker_pb2.Delta(text=text, logprobs=[worker_pb2.TokenLogprob(token=text.encode(), logprob=-1)])
        [event] = events(stream.frames([delta]))
        offsets += event["choices"][0]["logprobs"]["text_offset"]
    assert offsets == [0, 2, 5]
