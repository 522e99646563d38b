import json
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.domain.generation import Shown
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.openai.completion_events import ChatStream, CompletionStream
from services.gateway.openai.documents import ChatDocument, CompletionDocument
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


LENGTH, STOP = worker_pb2.FINISH_REASON_LENGTH, worker_pb2.FINISH_REASON_STOP
PROMPT = worker_pb2.Started(
    prompt_token_ids=[7, 8],
    prompt_logprobs=[
        worker_pb2.TokenLogprob(token_id=7, token=b"a"),
        worker_pb2.TokenLogprob(
            token_id=8, token=b"b", logprob=-2, rank=2, top=[worker_pb2.TopLogprob(token_id=9, token=b"c", logprob=-1)]
        ),
    ],
)


@pytest.mark.parametrize(
    ("ending", "finish", "stop"),
    [
        (worker_pb2.Delta(finish_reason=STOP, stop_reason="END"), "stop", "END"),
        (worker_pb2.Delta(finish_reason=STOP, stop_token_id=0), "stop", 0),
        (worker_pb2.Delta(finish_reason=STOP), "stop", None),
        (worker_pb2.Delta(finish_reason=LENGTH), "length", None),
    ],
)
def test_how_it_ended_is_the_same_streamed_and_not(
    ending: worker_pb2.Delta, finish: str, stop: str | int | None
) -> None:
    builders: list[Any] = [ChatDocument(1), CompletionDocument(1)]
    streams: list[Any] = [ChatStream(HEAD, 1, include_usage=False), CompletionStream(HEAD, 1, include_usage=False)]
    for builder, stream in zip(builders, streams, strict=True):
        builder.add([ending])
        [event] = events(stream.frames([ending]))
        for choice in (builder.document(HEAD, USED)["choices"][0], event["choices"][0]):
            assert (choice["finish_reason"], choice["stop_reason"]) == (finish, stop)


def test_each_event_has_the_counts_so_far_if_the_client_asks() -> None:
    header = replace(HEAD, prompt_tokens=3)
    shown = Shown(continuous_usage=True)
    for stream in (ChatStream(header, 1, True, shown=shown), CompletionStream(header, 1, True, shown=shown)):
        opening = events(b"".join(stream.open()))
        told = events(
            stream.frames(
                [
                    worker_pb2.Delta(text="a", token_ids=[1]),
                    worker_pb2.Delta(token_ids=[2]),
                    worker_pb2.Delta(text="bc", token_ids=[3, 4], finish_reason=STOP),
                ]
            )
        )
        assert all(event["usage"]["completion_tokens"] == 0 for event in opening)
        assert [event["usage"]["completion_tokens"] for event in told] == [1, 4]
        assert [event["usage"]["total_tokens"] for event in told] == [4, 7]


def test_token_ids_of_prompt_and_answer() -> None:
    header, shown = replace(HEAD, prompt=PROMPT), Shown(token_ids=True)
    deltas = [worker_pb2.Delta(text="a", token_ids=[1]), worker_pb2.Delta(token_ids=[2, 3], finish_reason=STOP)]
    chat, completion = ChatDocument(1, shown=shown), CompletionDocument(1, shown=shown)
    chat.add(deltas)
    completion.add(deltas)
    whole = chat.document(header, USED)
    assert (whole["prompt_token_ids"], whole["choices"][0]["token_ids"]) == ([7, 8], [1, 2, 3])
    choice = completion.document(header, USED)["choices"][0]
    assert (choice["prompt_token_ids"], choice["token_ids"]) == ([7, 8], [1, 2, 3])
    streamed = ChatStream(header, 1, include_usage=False, shown=shown)
    [first] = events(b"".join(streamed.open()))
    assert first["prompt_token_ids"] == [7, 8]
    assert [event["choices"][0]["token_ids"] for event in events(streamed.frames(deltas))] == [[1], [2, 3]]
    told = events(CompletionStream(header, 1, include_usage=False, shown=shown).frames(deltas))
    assert [event["choices"][0]["prompt_token_ids"] for event in told] == [[7, 8], None]


def test_log_probabilities_of_an_echoed_prompt_come_first() -> None:
    header, shown = replace(HEAD, prompt=PROMPT), Shown(echo_logprobs=True)
    answer = worker_pb2.Delta(text="abd", logprobs=[worker_pb2.TokenLogprob(token=b"d", logprob=-3)])
    document = CompletionDocument(1, shown=shown)
    document.add([answer])
    [event] = events(CompletionStream(header, 1, include_usage=False, shown=shown).frames([answer]))
    expected = {
        "tokens": ["a", "b", "d"],
        "token_logprobs": [None, -2, -3],
        "top_logprobs": [None, {"c": -1, "b": -2}, {"d": -3}],
        "text_offset": [0, 1, 2],
    }
    assert document.document(header, USED)["choices"][0]["logprobs"] == expected
    assert event["choices"][0]["logprobs"] == expected


def test_log_probabilities_of_a_prompt_by_token_id() -> None:
    header, shown = replace(HEAD, prompt=PROMPT), Shown(prompt_logprobs=True)
    for builder in (ChatDocument(1, shown=shown), CompletionDocument(1, shown=shown)):
        document = builder.document(header, USED)
        assert (document.get("prompt_logprobs") or document["choices"][0]["prompt_logprobs"]) == [
            None,
            {
                "8": {"logprob": -2, "rank": 2, "decoded_token": "b"},
                "9": {"logprob": -1, "rank": 1, "decoded_token": "c"},
            },
        ]
