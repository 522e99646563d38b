"""Requests of Anthropic's Messages API: what they mean as a chat, what is left out of them, and what is refused."""

import json
from typing import Any

import pytest

from services.gateway.anthropic.messages_request import CountTokensRequest, MessagesRequest
from services.gateway.openai import validation
from services.shared.errors import InvalidRequest

ASK: dict[str, Any] = {"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}
TOOL: dict[str, Any] = {"name": "look", "input_schema": {"type": "object"}}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "look", "input": {"at": "tide"}}


def asked(**changes: Any) -> MessagesRequest:
    return validation.check(MessagesRequest, {**ASK, **changes})


def left_out(**changes: Any) -> set[str]:
    return set(validation.accept(MessagesRequest, {**ASK, **changes})[1].paths)


def chat(request: CountTokensRequest) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = json.loads(request.chat.worker_prompt().messages_json)
    return messages


def said(*blocks: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": list(blocks)}]}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def result(**fields: Any) -> list[dict[str, Any]]:
    """A conversation in which a tool was called and has answered."""
    block = {"type": "tool_result", "tool_use_id": "toolu_1", **fields}
    return [
        {"role": "user", "content": "Look."},
        {"role": "assistant", "content": [CALL]},
        {"role": "user", "content": [text("So?"), block]},
    ]


IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA"}}
PDF = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "AA"}}


@pytest.mark.parametrize(
    ("changes", "param", "words"),
    [
        ({"max_tokens": None}, "max_tokens", "Missing"),
        ({"max_tokens": 0}, "max_tokens", "at least 1"),
        ({"messages": []}, "messages", "empty"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role", "'user'"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content", "string or an array"),
        (said({"type": "riddle"}), "messages[0].content[0].type", "'tool_result'"),
        (said(text("a"), IMAGE), "messages[0].content[1].type", "what the image shows"),
        ({"messages": result(content=[IMAGE])}, "messages[2].content[1].content[0].type", "what the image shows"),
        (said(PDF), "messages[0].content[0].source.type", "the document's text"),
        (said({"type": "tool_result", "tool_use_id": "x"}), "messages[0].content[0].tool_use_id", "no tool_use"),
        ({"messages": [*ASK["messages"], {"role": "assistant", "content": "{"}]}, "messages[1].role", "begun"),
        ({"system": 5}, "system", "string or an array"),
        ({"temperature": 3}, "temperature", "at most 2"),
        ({"stop_sequences": ["a"], "stop": ["b"]}, "stop", "stop_sequences"),
        ({"tools": [{"name": "a"}]}, "tools[0].input_schema", "Missing"),
        ({"tools": [{**TOOL, "input_schema": {"type": 5}}]}, "tools[0].input_schema", "JSON schema"),
        ({"tools": [TOOL, TOOL]}, "tools", "differ"),
        ({"tool_choice": {"type": "tool", "name": "look"}}, "tool_choice.name", "'look'"),
        ({"tool_choice": {"type": "any"}}, "tool_choice", "needs tools"),
        ({"tool_choice": "auto"}, "tool_choice", "object"),
        ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type", "json_schema"),
        ({"response_format": {"type": "json_object"}}, "response_format", "output_config.format"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(changes: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as refused:
        asked(**changes)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("changes", "paths"),
    [
        ({"metadata": {"user_id": "u"}}, {"metadata"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"thinking.budget_tokens"}),
        ({"thinking": {"type": "dreaming"}}, {"thinking"}),
        ({"speed": "fast", "container": "c"}, {"speed", "container"}),
        (
            {"system": [{**text("Be brief."), "cache_control": {"type": "ephemeral"}}]},
            {"system[0].cache_control"},
        ),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}, TOOL]}, {"tools[0]"}),
        (
            {"messages": [
                *ASK["messages"],
                {"role": "assistant", "content": [{"type": "redacted_thinking", "data": "x"}, text("a")]},
                *ASK["messages"],
            ]},
            {"messages[1].content[0].data"},
        ),
        (said({**text("a"), "cache_control": {"type": "ephemeral"}}), {"messages[0].content[0].cache_control"}),
    ],
)  # fmt: skip
def test_what_only_hints_is_left_out_and_named(changes: dict[str, Any], paths: set[str]) -> None:
    assert left_out(**changes) == paths
    assert asked(**changes).chat.worker_prompt().messages_json


def test_nothing_is_left_out_of_a_plain_request() -> None:
    assert not left_out(system="Be brief.", tools=[TOOL], tool_choice={"type": "auto"}, stop_sequences=["x"], top_k=5)


def test_a_conversation_becomes_chat_messages() -> None:
    thinking = {"type": "thinking", "thinking": "hm", "signature": "s"}
    turns = [
        {"role": "user", "content": [text("a")]},
        {"role": "user", "content": "b"},
        {"role": "assistant", "content": [thinking, text("I look."), CALL, {**CALL, "id": "toolu_2"}]},
        {
            "role": "user",
            "content": [
                text("So?"),
                {"type": "tool_result", "tool_use_id": "toolu_1", "content": "low"},
                {"type": "tool_result", "tool_use_id": "toolu_2", "content": [text("no"), text("tide")]},
            ],
        },
    ]
    system, first, answer, low, none, question = chat(asked(system=[text("Be brief.")], messages=turns))
    assert system == {"role": "system", "content": "Be brief."}
    assert first == {"role": "user", "content": [text("a"), text("b")]}
    assert (answer["reasoning_content"], answer["content"]) == ("hm", "I look.")
    assert [call["id"] for call in answer["tool_calls"]] == ["toolu_1", "toolu_2"]
    assert answer["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at":"tide"}'}
    assert low == {"role": "tool", "tool_call_id": "toolu_1", "content": "low"}
    assert none["content"] == [text("no"), text("tide")]
    assert question == {"role": "user", "content": "So?"}


@pytest.mark.parametrize(
    ("fields", "content"),
    [
        ({}, ""),
        ({"content": []}, ""),
        ({"content": "low", "is_error": False}, "low"),
        ({"content": "no such harbour", "is_error": True}, "Error: no such harbour"),
        ({"content": "error 5", "is_error": True}, "error 5"),
        ({"is_error": True}, "Error: "),
        ({"content": [{"type": "search_result", "title": "T", "source": "s", "content": [text("x")]}]}, "T\ns\nx"),
    ],
)
def test_results_of_tools(fields: dict[str, Any], content: str) -> None:
    assert chat(asked(messages=result(**fields)))[2]["content"] == content


@pytest.mark.parametrize(
    ("source", "content"),
    [
        ({"type": "text", "media_type": "text/plain", "data": "low tide"}, "Tides\nlow tide"),
        ({"type": "content", "content": [text("low"), text("tide")]}, "Tides\nlow\ntide"),
    ],
)
def test_documents_are_read_as_text(source: dict[str, Any], content: str) -> None:
    [message] = chat(asked(**said({"type": "document", "title": "Tides", "source": source})))
    assert message["content"] == content


def test_the_line_that_differs_in_each_request_does_not_reach_the_model() -> None:
    system, _ = chat(asked(system=[text("x-anthropic-billing-header: cc_version=1"), text("Be brief.")]))
    assert system["content"] == "Be brief."


def test_many_blocks_become_one_text() -> None:
    [message] = chat(asked(**said(*[text("a")] * 300)))
    assert message["content"] == "\n".join("a" * 300)


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"type": "auto"}, b'"auto"'),
        ({"type": "any"}, b'"required"'),
        ({"type": "none"}, b'"none"'),
        ({"type": "tool", "name": "look"}, b'{"type":"function","function":{"name":"look"}}'),
    ],
)
def test_tools_and_their_choice(choice: dict[str, Any], told: bytes) -> None:
    prompt = asked(tools=[{**TOOL, "description": "Looks.", "strict": True}], tool_choice=choice).chat.worker_prompt()
    assert prompt.tool_choice_json == told
    assert prompt.parallel_tool_calls
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "strict": True}
    assert json.loads(prompt.tools_json) == [{"type": "function", "function": function}]


def test_one_tool_at_a_time() -> None:
    choice = {"type": "any", "disable_parallel_tool_use": True}
    assert not asked(tools=[TOOL], tool_choice=choice).chat.worker_prompt().parallel_tool_calls


@pytest.mark.parametrize(
    ("changes", "effort"),
    [
        ({}, ""),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, ""),
        ({"thinking": {"type": "disabled"}}, "none"),
        ({"output_config": {"effort": "max"}}, "high"),
    ],
)
def test_thinking_is_effort(changes: dict[str, Any], effort: str) -> None:
    assert asked(**changes).chat.worker_prompt().reasoning_effort == effort


@pytest.mark.parametrize("field", ["output_format", "output_config"])
def test_structured_output(field: str) -> None:
    shape = {"type": "json_schema", "schema": {"type": "object"}}
    request = asked(**{field: shape if field == "output_format" else {"format": shape}})
    assert request.chat.sampling().json_schema == '{"type":"object"}'


def test_sampling() -> None:
    sampling = asked(temperature=0.5, top_p=0.9, top_k=3, stop_sequences=["a", "b"], seed=1, min_p=0.1).chat.sampling()
    assert (sampling.temperature, sampling.top_p, sampling.top_k) == (0.5, 0.9, 3)
    assert (list(sampling.stop), sampling.max_tokens, sampling.seed, sampling.min_p) == (["a", "b"], 5, 1, 0.1)


@pytest.mark.parametrize(("tier", "chat_tier"), [(None, None), ("auto", "auto"), ("standard_only", "default")])
def test_service_tiers(tier: str | None, chat_tier: str | None) -> None:
    assert asked(service_tier=tier).chat.service_tier == chat_tier


def test_counting_takes_the_body_of_a_message() -> None:
    body = {**ASK, "stream": True, "temperature": 1.0, "stop_sequences": ["a"], "tools": [TOOL]}
    request, ignored = validation.accept(CountTokensRequest, body)
    assert chat(request) == chat(asked())
    assert set(ignored.paths) == {"max_tokens", "stream", "temperature", "stop_sequences"}
