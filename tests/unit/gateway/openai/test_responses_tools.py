"""The tools of responses: which functions they become, which are left out, and what forces a call."""

import json
from typing import Any

import pytest

from services.gateway.domain.secrets import ServerSecret
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.openai import validation
from services.gateway.openai.encrypted_reasoning import ReasoningSeal
from services.gateway.openai.responses_events import ResponseDocument, ResponseStream, Shape
from services.gateway.openai.responses_input import opened
from services.gateway.openai.responses_request import ResponsesRequest
from services.shared.errors import InvalidRequest
from tests.support.clock import ManualClock
from tidegate.worker.v1 import worker_pb2

CLOCK = ManualClock(9.5)
HEAD = GenerationHeader("resp_ab", 5, "m", "default", "v1")
LARK = {"type": "grammar", "syntax": "lark", "definition": 'start: "x"'}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files.", "format": LARK}
COLOUR = {
    "type": "custom",
    "name": "colour",
    "format": {"type": "grammar", "syntax": "regex", "definition": "red|blue"},
}
LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
CRM = {"type": "namespace", "name": "mcp__crm__", "description": "Customers.", "tools": [LOOK, PATCH]}
HOSTED = [
    {"type": "web_search"},
    {"type": "mcp", "server_label": "x", "server_url": "https://example.com"},
    {"type": "local_shell"},
    {"type": "image_generation"},
]


def accepted(**changes: Any) -> tuple[ResponsesRequest, str]:
    request, ignored = validation.accept(ResponsesRequest, {"model": "m", "input": "hi", **changes})
    return request, ignored.header()


def tools_of(request: ResponsesRequest) -> dict[str, Any]:
    tools = json.loads(request.chat.worker_prompt().tools_json)
    return {tool["function"]["name"]: tool["function"] for tool in tools}


def test_custom_tools_are_functions_of_one_text() -> None:
    request, ignored = accepted(tools=[PATCH, {"type": "custom", "name": "run", "format": {"type": "text"}}])
    tools = tools_of(request)
    assert tools["run"]["parameters"]["properties"] == {"input": {"type": "string"}}
    assert 'start: "x"' in tools["apply_patch"]["parameters"]["properties"]["input"]["description"]
    assert tools["apply_patch"]["description"] == "Edits files."
    assert ignored == ""
    assert request.echo()["tools"][0] == PATCH


def test_a_regular_expression_binds_and_other_grammars_only_describe() -> None:
    request, _ = accepted(tools=[PATCH, COLOUR])
    assert set(request.chat.argument_schemas) == {"colour"}
    assert "red|blue" in request.chat.argument_schemas["colour"]["properties"]["input"]["pattern"]
    forced, _ = accepted(tools=[COLOUR], tool_choice={"type": "custom", "name": "colour"})
    assert json.loads(forced.chat.worker_prompt().tool_choice_json)["function"]["name"] == "colour"
    for tool, choice in ((PATCH, "required"), (PATCH, {"type": "custom", "name": "apply_patch"})):
        with pytest.raises(InvalidRequest, match="this lark grammar") as refused:
            accepted(tools=[LOOK, tool], tool_choice=choice)
        assert refused.value.param == "tools[1].format.definition"


def test_an_expression_that_no_grammar_can_hold_only_describes() -> None:
    odd = {**COLOUR, "format": {"type": "grammar", "syntax": "regex", "definition": "(?=r)red"}}
    request, _ = accepted(tools=[odd])
    assert request.chat.argument_schemas == {}
    with pytest.raises(InvalidRequest, match="this regex grammar"):
        accepted(tools=[odd], tool_choice="required")


def test_namespaces_are_flattened() -> None:
    request, _ = accepted(
        tools=[CRM, LOOK],
        tool_choice={
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": "mcp__crm__look"}],
        },
        input=[
            {"type": "function_call", "call_id": "c1", "name": "look", "namespace": "mcp__crm__", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "x"},
            {"type": "custom_tool_call", "call_id": "c2", "name": "gone", "namespace": "crm", "input": 'a"b'},
            {"type": "custom_tool_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "y"}]},
        ],
    )
    assert set(tools_of(request)) == {"mcp__crm__look"}
    assert set(tools_of(accepted(tools=[CRM, LOOK])[0])) == {"mcp__crm__look", "mcp__crm__apply_patch", "look"}
    calls = [turn for turn in json.loads(request.chat.worker_prompt().messages_json) if turn["role"] == "assistant"]
    functions = [call["function"] for turn in calls for call in turn["tool_calls"]]
    assert [function["name"] for function in functions] == ["mcp__crm__look", "crm__gone"]
    assert json.loads(functions[1]["arguments"]) == {"input": 'a"b'}


def test_names_that_are_too_long_or_the_same_stay_apart() -> None:
    long = [{**LOOK, "name": "x" * 100 + ending} for ending in "ab"]
    clash = [{"type": "namespace", "name": "a", "tools": [{**LOOK, "name": "b"}]}, {**LOOK, "name": "a__b"}]
    request, _ = accepted(tools=[*long, *clash])
    functions = [callee.function for callee in request.toolbox.callees]
    assert len(set(functions)) == 4
    assert all(len(function) <= 64 for function in functions)
    assert functions[3] == "a__b"
    with pytest.raises(InvalidRequest, match="names must differ"):
        accepted(tools=[CRM, {**CRM, "tools": [LOOK]}])
    two = [{"type": "namespace", "name": name, "tools": [LOOK]} for name in "ab"]
    with pytest.raises(InvalidRequest, match="several tools"):
        accepted(tools=two, tool_choice={"type": "function", "name": "look"})


def test_hosted_tools_and_their_calls_are_left_out_and_named() -> None:
    named_look = {"type": "function", "name": "mcp__crm__look"}
    request, ignored = accepted(
        tools=[*HOSTED, LOOK, {**CRM, "tools": [LOOK, {"type": "tool_search"}]}],
        tool_choice={"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}, named_look]},
        input=[{"type": "web_search_call", "id": "ws_1", "status": "completed"}, {"role": "user", "content": "x"}],
    )  # fmt: skip
    named = ["input[0]", "tools[0]", "tools[1]", "tools[2]", "tools[3]", "tools[5].tools[1]", "tool_choice.tools[0]"]
    assert sorted(ignored.split(", ")) == sorted(named)
    assert set(tools_of(request)) == {"mcp__crm__look"}
    assert [tool["type"] for tool in request.echo()["tools"]] == ["function", "namespace"]
    only = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "mcp"}]}
    assert accepted(tools=[LOOK, HOSTED[1]], tool_choice=only)[0].chat.tool_choice == "none"
    with pytest.raises(InvalidRequest, match="served here"):
        accepted(tools=[LOOK, HOSTED[1]], tool_choice={**only, "mode": "required"})
    assert accepted(tools=HOSTED, tool_choice="auto")[0].chat.tools is None


def test_what_the_application_says_is_one_system_turn_at_the_start() -> None:
    request, _ = accepted(
        instructions="Be brief.",
        input=[
            {"role": "developer", "content": [{"type": "input_text", "text": "No jokes."}]},
            {"role": "user", "content": "a"},
            {"role": "system", "content": "In French."},
        ],
    )
    turns = json.loads(request.chat.worker_prompt().messages_json)
    assert turns == [
        {"role": "system", "content": "Be brief.\n\nNo jokes.\n\nIn French."},
        {"role": "user", "content": "a"},
    ]


def test_reasoning_comes_back_encrypted_or_as_a_summary() -> None:
    seal = ReasoningSeal(ServerSecret("s" * 32))
    mine = seal.seal("I think.", "acme")
    assert "think" not in mine
    assert seal.open(mine, "acme") == "I think."
    assert [seal.open(odd, "acme") for odd in ("gAAAA", "tide1.", "tide1.%%%", mine[:-8], mine + "AAAA")] == [None] * 5
    assert seal.open(mine, "other") is None
    sent = [
        {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": mine},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Short."}], "encrypted_content": "gAAA"},
    ]
    request, _ = accepted(input=sent, include=["reasoning.encrypted_content", "file_search_call.results"])
    assert isinstance(request.input, list)
    items, unread = opened(request.input, "input", lambda content: seal.open(content, "acme"))
    request = request.model_copy(update={"input": items})
    turns = json.loads(request.chat.worker_prompt().messages_json)
    assert [turn["reasoning_content"] for turn in turns] == ["I think.", "Short."]
    assert unread == ["input[1].encrypted_content"]
    assert request.encrypts_reasoning


DELTAS = [
    worker_pb2.Delta(reasoning="hm"),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, id="c1", name="apply_patch", arguments='{"inp')]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, arguments='ut": "a\\n')]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, arguments='b"}')]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=1, id="c2", name="mcp__crm__look", arguments="{}")]),
    worker_pb2.Delta(finish_reason=worker_pb2.FINISH_REASON_TOOL_CALLS),
]
USED = worker_pb2.Usage(prompt_tokens=3, completion_tokens=4)


def test_calls_come_back_by_name_and_namespace() -> None:
    request, _ = accepted(tools=[PATCH, CRM])
    shape = Shape(request.echo(), request.toolbox, seal=lambda text: f"sealed {text}")
    stream = ResponseStream(HEAD, shape, CLOCK)
    data = (b"".join(stream.open()) + stream.frames(DELTAS) + stream.close(USED)).decode()
    told = [json.loads(line.removeprefix("data: ")) for line in data.splitlines() if line.startswith("data: ")]
    whole = ResponseDocument(shape, HEAD.id, CLOCK)
    whole.add(DELTAS)
    assert told[-1]["response"] == json.loads(json.dumps(whole.document(HEAD, USED)))
    reasoning, custom, function = told[-1]["response"]["output"]
    assert reasoning["encrypted_content"] == "sealed hm"
    assert (custom["type"], custom["name"], custom["input"]) == ("custom_tool_call", "apply_patch", "a\nb")
    assert custom["id"].startswith("ctc_")
    assert "namespace" not in custom
    assert (function["name"], function["namespace"], function["arguments"]) == ("look", "mcp__crm__", "{}")
    inputs = [event for event in told if event["type"].startswith("response.custom_tool_call_input")]
    assert [event.get("delta") for event in inputs] == ["a\n", "b", None]
    assert inputs[-1]["input"] == "a\nb"
