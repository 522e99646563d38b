"""The Responses API: what its input means as a chat, and the events of its answers."""

import json
from typing import Any

import pytest

from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.openai import validation
from services.gateway.openai.responses_events import ResponseDocument, ResponseStream, Shape
from services.gateway.openai.responses_request import ResponsesRequest
from services.shared.errors import InvalidRequest, QueueFull
from tests.support.clock import ManualClock
from tidegate.worker.v1 import worker_pb2

CLOCK = ManualClock(9.5)
HEAD = GenerationHeader("resp_ab", 5, "m", "default", "v1")
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}}
CALL = {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"}


def asked(**changes: Any) -> ResponsesRequest:
    return validation.check(ResponsesRequest, {"model": "m", "input": "hi", **changes})


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": [[]]}, "input[0]"),
        ({"input": [{"type": [], "role": "user", "content": "x"}]}, "input[0].type"),
        ({"input": [{"type": {"a": None}}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": "x"}, "x"]}, "input[1]"),
        ({"input": [{"role": "user", "content": "x"}, None]}, "input[1]"),
        ({"input": [{"type": "web_search_call", "id": "ws_1"}]}, "input"),
        ({"input": [{"role": "wizard", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": []}]}, "input[0].type"),
        ({"input": [{"type": 1}]}, "input[0].type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input[0].id"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input[0].type"),
        ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "http://a"}]}]}, None),
        ({"input": [{"type": "function_call_output", "call_id": "c1", "output": "x"}]}, "input[0].call_id"),
        ({"previous_response_id": ""}, "previous_response_id"),
        ({"background": True, "store": False}, "background"),
        ({"tools": [{"name": "x"}]}, "tools[0].type"),
        ({"tools": [{"type": "web_search"}], "tool_choice": "required"}, "tool_choice"),
        ({"tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}, "tool_choice.type"),
        ({"tools": [{"type": "mcp"}], "tool_choice": {"type": "mcp", "server_label": "x"}}, "tool_choice.type"),
        ({"tools": [TOOL, TOOL]}, "tools"),
        ({"tool_choice": {"type": "function", "name": "look"}}, "tool_choice"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"text": {"format": {"type": "json_schema", "name": "s", "schema": {"type": 5}}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"conversation": ""}, "conversation"),
        ({"conversation": {"id": 5}}, "conversation.id"),
        ({"conversation": "conv_1", "previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": {"id": "conv_1"}, "store": False}, "store"),
    ],
)
def test_bad_requests_name_the_parameter(changes: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        _ = asked(**changes).chat
    assert param is None or refused.value.param == param


def test_a_conversation_becomes_chat_messages() -> None:
    request = asked(
        instructions="Be brief.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            CALL,
            {**CALL, "call_id": "c2"},
            {"type": "function_call_output", "call_id": "c1", "output": "x"},
            {"role": "assistant", "content": "Done."},
            {"role": "assistant", "content": "Really."},
        ],
    )
    messages = json.loads(request.chat.worker_prompt().messages_json)
    assert [message["role"] for message in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
        "assistant",
    ]
    assert messages[1]["content"] == "ab"
    assert (messages[2]["reasoning_content"], messages[2]["content"]) == ("hm", "I look.")
    assert [call["id"] for call in messages[2]["tool_calls"]] == ["c1", "c2"]


def test_options_reach_the_chat_completion() -> None:
    chat = asked(
        tools=[TOOL, {**TOOL, "name": "other"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look"}]},
        text={"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}},
        reasoning={"effort": "low"},
        max_output_tokens=7,
        include=["message.output_text.logprobs"],
        top_logprobs=2,
    ).chat
    sampling, prompt = chat.sampling(), chat.worker_prompt()
    # A forced call is all of the answer, so the form of texts says nothing about it.
    assert (sampling.max_tokens, sampling.top_logprobs, sampling.json_schema) == (7, 2, "")
    assert (prompt.reasoning_effort, prompt.tool_choice_json) == ("low", b'"required"')
    assert b"other" not in prompt.tools_json


def test_a_form_of_the_text_reaches_the_chat_completion() -> None:
    form = {"format": {"type": "json_schema", "name": "s", "schema": {"type": "object"}}}
    assert asked(tools=[TOOL], text=form).chat.sampling().json_schema == '{"type":"object"}'


def test_a_strict_schema_that_cannot_bind_is_named_as_responses_have_it() -> None:
    strict = {**TOOL, "parameters": {"not": {"type": "string"}}, "strict": True}
    with pytest.raises(InvalidRequest, match="'not' at '/not'") as refused:
        asked(tools=[TOOL | {"name": "other"}, strict])
    assert refused.value.param == "tools[1].parameters"


def test_responses_take_the_sampling_fields_of_chats() -> None:
    sampling = asked(
        stop=["a"], seed=3, top_k=4, min_p=0.5, presence_penalty=1, frequency_penalty=-1, repetition_penalty=1.5,
        logit_bias={"5": 1}, min_tokens=2, ignore_eos=True, stop_token_ids=[7], structured_outputs={"json": {"a": 1}},
    ).chat.sampling()  # fmt: skip
    assert (list(sampling.stop), sampling.seed, sampling.top_k, sampling.min_p) == (["a"], 3, 4, 0.5)
    assert (sampling.presence_penalty, sampling.frequency_penalty, sampling.repetition_penalty) == (1, -1, 1.5)
    assert (sampling.logit_bias[5], sampling.min_tokens, sampling.ignore_eos) == (1, 2, True)
    assert (list(sampling.stop_token_ids), sampling.json_schema) == ([7], '{"a":1}')


DELTAS = [
    worker_pb2.Delta(reasoning="h"),
    worker_pb2.Delta(reasoning="m"),
    worker_pb2.Delta(text='say "'),
    worker_pb2.Delta(text="x", logprobs=[worker_pb2.TokenLogprob(token=b"x", logprob=-1)]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, id="c1", name="look", arguments="{")]),
    worker_pb2.Delta(tool_calls=[worker_pb2.ToolCallDelta(index=0, arguments="}")]),
    worker_pb2.Delta(finish_reason=worker_pb2.FINISH_REASON_TOOL_CALLS),
]
USED = worker_pb2.Usage(prompt_tokens=3, completion_tokens=4, reasoning_tokens=2)


def events(data: bytes) -> list[dict[str, Any]]:
    found = []
    for block in data.decode().split("\n\n")[:-1]:
        name, body = block.split("\n")
        found.append(json.loads(body.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def test_events_say_the_same_as_the_document() -> None:
    stream = ResponseStream(HEAD, Shape(asked().echo()), CLOCK)
    told = events(b"".join(stream.open()) + stream.frames(DELTAS[:3]) + stream.frames(DELTAS[3:]) + stream.close(USED))
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    whole = ResponseDocument(Shape(asked().echo()), HEAD.id, CLOCK)
    whole.add(DELTAS)
    response = whole.document(HEAD, USED)
    assert told[-1]["type"] == "response.completed"
    assert told[-1]["response"] == json.loads(json.dumps(response))
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call"]
    assert len({item["id"] for item in response["output"]}) == 3
    done = [event["item"] for event in told if event["type"] == "response.output_item.done"]
    assert done == told[-1]["response"]["output"]
    deltas = [(event["output_index"], event["delta"]) for event in told if event["type"].endswith(".delta")]
    assert deltas == [(0, "h"), (0, "m"), (1, 'say "'), (1, "x"), (2, "{"), (2, "}")]
    assert response["usage"]["output_tokens_details"]["reasoning_tokens"] == 2


# What the schema of Open Responses requires of a response.
REQUIRED = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id"),
    *("instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage", "metadata"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "safety_identifier"),
    "prompt_cache_key",
}


def test_a_response_has_all_properties_that_open_responses_requires_from_its_first_event_on() -> None:
    echo = asked(tools=[TOOL]).echo()
    stream = ResponseStream(HEAD, Shape(echo), CLOCK)
    told = events(b"".join(stream.open()) + stream.frames(DELTAS) + stream.close(USED) + stream.fail(QueueFull("full")))
    responses = [event["response"] for event in told if "response" in event]
    assert [response["status"] for response in responses] == ["in_progress", "in_progress", "completed", "failed"]
    for response in responses:
        assert set(response) >= REQUIRED
        assert {"type", "name", "description", "parameters", "strict"} <= set(response["tools"][0])
    assert [response["completed_at"] for response in responses] == [None, None, 9, None]


def test_a_response_repeats_what_was_asked() -> None:
    given = {
        "presence_penalty": 0.5,
        "frequency_penalty": -0.5,
        "safety_identifier": "user-7",
        "prompt_cache_key": "key-7",
        "metadata": {"a": "b"},
    }
    assert given.items() <= asked(**given).echo().items()
    assert (asked().echo()["presence_penalty"], asked().echo()["safety_identifier"]) == (0, None)


def test_a_response_at_its_token_limit_is_incomplete() -> None:
    whole = ResponseDocument(Shape(asked().echo()), HEAD.id, CLOCK)
    whole.add([worker_pb2.Delta(text="a", finish_reason=worker_pb2.FINISH_REASON_LENGTH)])
    response = whole.document(HEAD, USED)
    assert (response["status"], response["output"][0]["status"]) == ("incomplete", "incomplete")
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["completed_at"] is None


def test_a_failure_has_its_own_event() -> None:
    [failed] = events(ResponseStream(HEAD, Shape(asked().echo()), CLOCK).fail(QueueFull("full")))
    assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
    assert failed["response"]["error"] == {"code": "server_error", "message": "full"}
