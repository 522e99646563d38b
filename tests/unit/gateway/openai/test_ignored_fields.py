"""What may be left out of a request is left out, at every depth, and named."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import TypeAdapter

from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.embeddings_request import EmbeddingsRequest
from services.gateway.openai.fields import Request
from services.gateway.openai.ignored_fields import MAX_NAMED, OTHER, IgnoredFields
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.openai.tokenize_request import DetokenizeRequest, TokenizeRequest
from services.shared.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}
LEAST: dict[type[Request], dict[str, Any]] = {
    ChatCompletionRequest: {"messages": [USER]},
    CompletionRequest: {"prompt": "a"},
    ResponsesRequest: {"input": "hi"},
    EmbeddingsRequest: {"input": "hi"},
    TokenizeRequest: {"prompt": "a"},
    DetokenizeRequest: {"tokens": [1]},
}


def accept(kind: type[Request], strict: bool = False, **changes: Any) -> IgnoredFields:
    return validation.accept(kind, {"model": "m", **LEAST[kind], **changes}, strict=strict)[1]


def of_chat(**changes: Any) -> str:
    return accept(ChatCompletionRequest, **changes).header()


@pytest.mark.parametrize("kind", LEAST)
def test_unknown_fields_of_every_request_are_left_out(kind: type[Request]) -> None:
    ignored = accept(kind, opts={"a": 1}, tidal=1)
    assert ignored.header() == "opts, tidal"
    assert ignored.labels == {"opts", OTHER}
    assert accept(kind).header() == ""


@pytest.mark.parametrize("kind", LEAST)
def test_strict_requests_have_no_unknown_fields_at_the_top(kind: type[Request]) -> None:
    for name, code in (("tidal", "unknown_parameter"), ("opts", "unsupported_parameter")):
        with pytest.raises(InvalidRequest) as refused:
            accept(kind, strict=True, **{name: 1})
        assert (refused.value.param, refused.value.code) == (name, code)
    assert accept(kind, strict=True, tidal=None).header() == ""


def test_strict_requests_may_have_labels_and_unknown_fields_further_down() -> None:
    ignored = accept(ChatCompletionRequest, strict=True, user="u", messages=[{**USER, "tidal": 1}])
    assert ignored.header() == "messages[0].tidal, user"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"user": "u" * 10_000, "metadata": {"a": 1}}, "user, metadata"),
        ({"user": None, "tidal": None, "functions": None}, ""),
        ({"store": False, "verbosity": "medium", "modalities": ["text"]}, ""),
        ({"store": True, "verbosity": "low"}, "store, verbosity"),
        ({"reasoning_effort": "xhigh"}, ""),
        ({"reasoning_effort": "turbo"}, "reasoning_effort"),
        ({"reasoning_effort": 7, "web_search_options": {}}, "reasoning_effort, web_search_options"),
        ({"stream": True, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"functions": [], "echo": False, "prediction": {"content": ""}}, "functions, echo, prediction"),
        ({"messages": [{**USER, "name": ""}]}, "messages[0].name"),
        ({"messages": [{**USER, "refusal": None, "cache_control": None}]}, ""),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {}}]}]},
            "messages[0].content[0].cache_control",
        ),
        (
            {"tools": [{"type": "function", "opts": 1, "function": {"name": "look", "parameters": {}, "title": "L"}}]},
            "tools[0].opts, tools[0].function.title",
        ),
        ({"response_format": {"type": "json_object", "tidal": 1}}, "response_format.tidal"),
        ({"structured_outputs": {"regex": "a", "tidal": 1}}, "structured_outputs.tidal"),
        ({"a\r\nb: c": 1, "é": 1}, "a??b??c, ?"),
        ({"x" * 1000: 1}, "x" * 96),
    ],
)
def test_chats(changes: dict[str, Any], named: str) -> None:
    assert of_chat(**changes) == named


def models(base: type[Request]) -> Iterator[type[Request]]:
    for kind in base.__subclasses__():
        yield kind
        yield from models(kind)


def test_every_field_that_may_be_left_out_may_be_null() -> None:
    optional = [
        (kind.__name__, name, field)
        for kind in models(Request)
        for name, field in kind.model_fields.items()
        if not field.is_required()
    ]
    assert len(optional) > 100
    for kind, name, field in optional:
        accepted: TypeAdapter[Any] = TypeAdapter(field.rebuild_annotation())
        assert accepted.validate_python(None, strict=True) in (None, field.default), f"{kind}.{name}"


def test_many_unknown_fields_cost_little() -> None:
    """The names are bounded, and no error is made of each."""
    document = {"model": "m", "messages": [{**USER, **{f"x{n}": n for n in range(100)}} for _ in range(2000)]}
    started = time.process_time()
    assert len(validation.accept(ChatCompletionRequest, document)[1].paths) == MAX_NAMED
    assert time.process_time() - started < 5


def test_tool_calls_as_clients_send_them_back() -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "look", "arguments": "{}", "opts": 1}}
    turn = {"role": "assistant", "content": None, "tool_calls": [call], "reasoning_details": [{"a": 1}]}
    messages = [USER, turn, {"role": "tool", "tool_call_id": "c1", "name": "look", "content": "x", "id": "t1"}]
    named = "messages[1].tool_calls[0].index, messages[1].tool_calls[0].function.opts, messages[1].reasoning_details"
    assert of_chat(messages=messages) == f"{named}, messages[2].id"


def test_responses() -> None:
    ignored = accept(
        ResponsesRequest,
        include=["file_search_call.results", "message.output_text.logprobs"],
        reasoning={"effort": "max", "summary": "auto"},
        truncation="auto",
        store=True,
        user="u",
        metadata={"a": "b"},
        client_metadata={"a": "b"},
    )
    assert ignored.header() == "include[0], reasoning.summary, truncation, client_metadata"


def test_the_header_is_bounded_and_the_metric_still_counts_all() -> None:
    many: dict[str, Any] = {f"tidal_{n}": 1 for n in range(1000)}
    ignored = accept(ChatCompletionRequest, **many, opts=1)
    assert len(ignored.paths) == MAX_NAMED
    assert ignored.header().endswith("tidal_15, ...")
    assert ignored.labels == {OTHER, "opts"}
