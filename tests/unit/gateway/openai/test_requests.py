"""The one validator: what it refuses, which parameter it names, and what it hands on."""

from typing import Any

import orjson
import pytest

from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.token_request import GenerateRequest
from services.shared.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}
OTHER = {"type": "function", "function": {"name": "other"}}
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}


def schema(value: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": value}}}


BAD_CHATS: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": None}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": [USER] * 3000}, "messages"),
    ({"messages": [{"role": "wizard", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": "a\x00b"}]}, "messages[0].content"),
    ({"messages": [{"role": "function", "name": "look", "content": "x"}]}, "messages[0].role"),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://a"}}]}]},
        "messages[0].content[0].type",
    ),
    ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c1"}]}, "messages[0].tool_call_id"),
    ({"model": ""}, "model"),
    ({"model": "m" * 10_000}, "model"),
    ({"model": 7}, "model"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"max_tokens": True}, "max_tokens"),
    ({"max_tokens": 2**40}, "max_tokens"),
    ({"max_completion_tokens": 0}, "max_completion_tokens"),
    ({"min_tokens": 9, "max_tokens": 8}, "min_tokens"),
    ({"n": 0}, "n"),
    ({"n": 1000}, "n"),
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": float("nan")}, "temperature"),
    ({"top_p": 0}, "top_p"),
    ({"top_k": -2}, "top_k"),
    ({"presence_penalty": -2.5}, "presence_penalty"),
    ({"frequency_penalty": float("inf")}, "frequency_penalty"),
    ({"seed": 2**63}, "seed"),
    ({"stop": [str(n) for n in range(17)]}, "stop"),
    ({"stop": ""}, "stop"),
    ({"chat_template_kwargs": {"messages": "x"}}, "chat_template_kwargs"),
    ({"chat_template_kwargs": {"a": {"b": 1}}}, "chat_template_kwargs.a"),
    ({"chat_template_kwargs": {"a b": 1}}, None),
    ({"continue_final_message": True}, "continue_final_message"),
    ({"prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
    ({"stop": ["x" * 1000]}, "stop[0]"),
    ({"logit_bias": {str(token): 1 for token in range(301)}}, "logit_bias"),
    ({"logit_bias": {"-1": 1}}, "logit_bias"),
    ({"logit_bias": {"5": 101}}, "logit_bias.5"),
    ({"top_logprobs": 3}, "top_logprobs"),
    ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
    ({"stream_options": {"include_usage": True}}, "stream_options"),
    ({"service_tier": "gold"}, "service_tier"),
    ({"tools": [TOOL] * 129}, "tools"),
    ({"tools": [TOOL, TOOL]}, "tools"),
    ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools[0].function.name"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "other"}}}, "tool_choice"),
    (
        {
            "tools": [TOOL],
            "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [OTHER]}},
        },
        "tool_choice",
    ),
    ({"tool_choice": "look"}, "tool_choice"),
    ({"tool_choice": {"type": "function", "function": {}}}, "tool_choice.function.name"),
    ({"chat_template": "{{ x }}"}, "chat_template"),
    ({"kv_transfer_params": {"do_remote_decode": True}}, "kv_transfer_params"),
    ({"prompt_embeds": "AAAA"}, "prompt_embeds"),
    (schema({"type": 5}), "response_format.json_schema.schema"),
    (schema({"type": "strng"}), "response_format.json_schema.schema"),
    (schema({"properties": {"a": {"enum": "x"}}}), "response_format.json_schema.schema"),
    (schema({"$schema": "http://127.0.0.1:9/", "minItems": -1}), "response_format.json_schema.schema"),
    (schema({"$dynamicRef": "#x"}), "response_format.json_schema.schema"),
    (schema({"properties": {"a": {"pattern": "(?=a)b"}}}), "response_format.json_schema.schema"),
    (schema({"properties": {"enum": {"$ref": "#"}}}), "response_format.json_schema.schema"),
    (schema({"$ref": "https://example.com/s.json"}), "response_format.json_schema.schema"),
    (schema({"$ref": "#/$defs/a"}), "response_format.json_schema.schema"),
    (
        schema({"$ref": "#/$defs/a", "$defs": {"a": {"items": {"$ref": "#/$defs/a"}}}}),
        "response_format.json_schema.schema",
    ),
    (schema({"description": "x" * 70_000}), "response_format.json_schema.schema"),
    ({"structured_outputs": {"regex": "a", "json": {}}}, "structured_outputs"),
    ({"structured_outputs": {"regex": "a" * 5000}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": r"(a)\1"}}, "structured_outputs.regex"),
    ({"structured_outputs": {"regex": r"[(]\\(?<!a)"}}, "structured_outputs.regex"),
    ({"structured_outputs": {"choice": []}}, "structured_outputs.choice"),
    ({"structured_outputs": {}}, "structured_outputs"),
]


@pytest.mark.parametrize(("changes", "param"), BAD_CHATS, ids=[next(iter(bad)) for bad, _ in BAD_CHATS])
def test_bad_chats_name_the_parameter(changes: dict[str, Any], param: str | None) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], **changes})
    if param:
        assert refused.value.param == param
    assert len(refused.value.message) < 400


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": ["a", ""]}, "prompt[1]"),
        ({"prompt": ["a", 5]}, "prompt[1]"),
        ({"prompt": [1, "a"]}, "prompt[1]"),
        ({"prompt": [[1], [2, -1]]}, "prompt[1][1]"),
        ({"prompt": [[1], []]}, "prompt[1]"),
        ({"prompt": [[1], "a"]}, "prompt[1]"),
        ({"prompt": {"text": "a"}}, "prompt"),
        ({"prompt": ["a"] * 129}, "prompt"),
        ({"prompt": ["a"] * 65, "n": 2}, "prompt"),
        ({"prompt": [1, -2]}, "prompt[1]"),
        ({"prompt": None}, "prompt"),
        ({"prompt": "a", "best_of": 2, "n": 3}, "best_of"),
        ({"prompt": "a", "best_of": 17}, "best_of"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "suffix": "b", "echo": True}, "suffix"),
        ({"prompt": [1, 2], "suffix": "b"}, "suffix"),
        ({"prompt": "a", "suffix": "b", "truncate_prompt_tokens": 4}, "suffix"),
        ({"prompt": "a", "truncate_prompt_tokens": 0}, "truncate_prompt_tokens"),
        ({"prompt": "a", "truncate_prompt_tokens": -2}, "truncate_prompt_tokens"),
        ({"prompt": "a", "truncate_prompt_tokens": 4, "truncation_side": "middle"}, "truncation_side"),
        ({"prompt": "a", "documents": [{"text": "b"}]}, "documents"),
        ({"prompt": "a", "response_format": {"type": "structural_tag"}}, "response_format"),
        ({"prompt": "a", "structured_outputs": {"structural_tag": "{"}}, "structured_outputs.structural_tag"),
        ({"prompt": "a", "structured_outputs": {"structural_tag": {}}}, "structured_outputs.structural_tag"),
        (
            {"prompt": "a", "structured_outputs": {"json_object": True}, "response_format": {"type": "json_object"}},
            "structured_outputs",
        ),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": "a", "prompt_logprobs": 1, "stream": True}, "prompt_logprobs"),
        ({"prompt": "a", "prompt_logprobs": 21}, "prompt_logprobs"),
        ({"prompt": "a", "allowed_token_ids": []}, "allowed_token_ids"),
        ({"prompt": "a", "bad_words": [""]}, "bad_words[0]"),
        ({"prompt": "a", "chat_template_kwargs": {"a": 1}}, "chat_template_kwargs"),
    ],
)
def test_bad_completions_name_the_parameter(changes: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validation.check(CompletionRequest, {"model": "m", **changes})
    assert refused.value.param == param


def test_errors_do_not_contain_what_was_sent() -> None:
    secret = {"role": "user", "content": {"password": "hunter2"}}
    with pytest.raises(InvalidRequest) as refused:
        validation.check(ChatCompletionRequest, {"model": "m", "messages": [secret]})
    assert "hunter2" not in refused.value.message


def test_sampling_reaches_the_worker_and_absent_stays_absent() -> None:
    bare = validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER]}).sampling()
    assert bare.n == 1
    assert not bare.HasField("max_tokens")
    assert not bare.HasField("temperature")
    assert not bare.HasField("seed")
    assert not bare.HasField("top_logprobs")
    full = validation.check(
        ChatCompletionRequest,
        {
            "model": "m",
            "messages": [USER],
            "max_tokens": 9,
            "max_completion_tokens": 7,
            "temperature": 0,
            "seed": -1,
            "stop": "END",
            "logit_bias": {"5": -100},
            "logprobs": True,
            **schema({"type": "object", "$defs": {"a": {}}, "properties": {"b": {"$ref": "#/$defs/a"}}}),
        },
    ).sampling()
    assert (full.max_tokens, full.temperature, full.seed, list(full.stop)) == (7, 0.0, -1, ["END"])
    assert full.logit_bias[5] == -100
    assert full.HasField("top_logprobs")
    assert '"$ref"' in full.json_schema


def test_a_tool_conversation_reaches_the_template() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    messages = [
        USER,
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "content": "x", "tool_call_id": "c1"},
    ]
    request = validation.check(ChatCompletionRequest, {"model": "m", "messages": messages, "tools": [TOOL]})
    prompt = request.worker_prompt()
    assert prompt.messages_json.count(b'"c1"') == 2
    assert prompt.tools_json.startswith(b'[{"type":"function"')
    assert prompt.parallel_tool_calls


def test_prompts_of_completions() -> None:
    def prompt(value: Any) -> Any:
        (only,) = validation.check(CompletionRequest, {"model": "m", "prompt": value}).worker_prompts()
        return only

    assert prompt("a") == prompt(["a"]) == "a"
    assert list(prompt([1, 2]).ids) == list(prompt([[1, 2]]).ids) == [1, 2]


def test_a_schema_with_many_references_is_checked_quickly() -> None:
    """Each definition uses the next one twice: following every path would take 2 ** 30 steps."""
    pair = {f"d{n}": {"prefixItems": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(30)}
    value = {"$ref": "#/$defs/d0", "$defs": {**pair, "d30": {}}}
    validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], **schema(value)})


def test_odd_looking_patterns_that_are_regular() -> None:
    for regex in (r"[(?=]+", r"\\\(\?=", r"\d{3}-\d{4}", r"[^]]*", "[", r"(?:a|b)"):
        validation.check(
            ChatCompletionRequest, {"model": "m", "messages": [USER], "structured_outputs": {"regex": regex}}
        )


def test_a_choice_of_texts_becomes_a_grammar() -> None:
    document = {"model": "m", "messages": [USER], "structured_outputs": {"choice": ['say "no"', "yes"]}}
    assert validation.check(ChatCompletionRequest, document).sampling().grammar == r'root ::= "say \"no\"" | "yes"'


def test_allowed_tools_hide_the_others() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [OTHER]}}
    document = {"model": "m", "messages": [USER], "tools": [TOOL, OTHER], "tool_choice": choice}
    prompt = validation.check(ChatCompletionRequest, document).worker_prompt()
    assert b"look" not in prompt.tools_json
    assert b"other" in prompt.tools_json
    assert prompt.tool_choice_json == b'"required"'


def test_a_response_may_be_sent_back_unchanged() -> None:
    answer: dict[str, Any] = {
        "role": "assistant", "content": "hi", "refusal": None, "annotations": [], "audio": None, "function_call": None,
        "tool_calls": None, "reasoning_content": "hm",
    }  # fmt: skip
    request, ignored = validation.accept(ChatCompletionRequest, {"model": "m", "messages": [USER, answer]})
    prompt = request.worker_prompt()
    assert not ignored.paths
    assert b"annotations" not in prompt.messages_json
    assert b'"reasoning_content":"hm"' in prompt.messages_json


def template_messages(*messages: dict[str, Any]) -> Any:
    request = validation.check(ChatCompletionRequest, {"model": "m", "messages": list(messages)})
    return orjson.loads(request.worker_prompt().messages_json)


@pytest.mark.parametrize(
    ("turn", "rendered"),
    [
        ({"content": "hi", "reasoning": "hm"}, {"content": "hi", "reasoning_content": "hm"}),
        ({"content": "hi", "reasoning": None, "reasoning_content": "hm"}, {"content": "hi", "reasoning_content": "hm"}),
        (
            {"content": "hi", "reasoning": "hm", "reasoning_content": None},
            {"content": "hi", "reasoning_content": "hm"},
        ),
        ({"content": "hi", "reasoning": "hm", "reasoning_content": "hm"}, {"content": "hi", "reasoning_content": "hm"}),
        ({"content": "hi", "tool_calls": []}, {"content": "hi"}),
        ({"content": None, "tool_calls": []}, {"content": ""}),
        ({"content": []}, {"content": ""}),
        ({}, {"content": ""}),
        ({"refusal": "no"}, {"refusal": "no"}),
    ],
)
def test_what_the_assistant_said(turn: dict[str, Any], rendered: dict[str, Any]) -> None:
    assert template_messages(USER, {"role": "assistant", **turn})[1] == {"role": "assistant", **rendered}


def test_kinder_than_openai() -> None:
    """As vLLM: an empty list is as good as none, and a tool's type may be left out."""
    assert template_messages({"role": "user", "content": []}) == [{"role": "user", "content": ""}]
    call = {"id": "c1", "type": None, "function": {"name": "look", "arguments": "{}"}}
    [_, turn] = template_messages(USER, {"role": "assistant", "tool_calls": [call]})
    assert turn["tool_calls"][0]["type"] == "function"
    request = validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], "tools": []})
    assert request.worker_prompt().tools_json == b""


def test_null_is_not_set() -> None:
    document = {"model": "m", "messages": [USER], "logit_bias": {"5": 1, "6": None}, "stop": None, "tools": None}
    assert dict(validation.check(ChatCompletionRequest, document).sampling().logit_bias) == {5: 1.0}
    for changes, param in (({"messages": None}, "messages"), ({"messages": [{"role": None}]}, "messages[0].role")):
        with pytest.raises(InvalidRequest) as refused:
            validation.check(ChatCompletionRequest, {**document, **changes})
        assert (refused.value.param, refused.value.code) == (param, "missing_required_parameter")


@pytest.mark.parametrize(
    "changes", [{"messages": [{"role": "my secret", "content": "x"}]}, {"response_format": {"type": "my secret"}}]
)
def test_errors_do_not_repeat_what_was_sent(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest, match="must be one of '") as told:
        validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], **changes})
    assert "secret" not in told.value.message


ODD = {
    "$schema": "http://json-schema.org/draft-04/schema#",
    "required": None,
    "properties": {"a": {"$ref": "#/nowhere"}, "b": {"$ref": "#"}, "p": {"type": "string", "pattern": "(?=a)b"}},
    "not": {"type": "string"},
}
"""A schema as some tools have it: nothing can hold an answer to it."""
LOOK = {"type": "function", "function": {"name": "look"}}


def function(name: str, parameters: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


def chat_with(*tools: dict[str, Any], **fields: Any) -> ChatCompletionRequest:
    return validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], "tools": list(tools), **fields})


def test_a_schema_that_only_describes_reaches_the_template_as_it_is() -> None:
    prompt = chat_with(function("look", ODD), function("all", True), function("none", False)).worker_prompt()
    described = [tool["function"]["parameters"] for tool in orjson.loads(prompt.tools_json)]
    assert described == [ODD, {}, {"not": {}}]
    assert prompt.argument_schemas_json == b""


@pytest.mark.parametrize(
    ("tools", "choice", "bound"),
    [
        ([function("look", {}, strict=True), function("odd", ODD)], "auto", ["look"]),
        ([function("look", {}, strict=True), function("odd", ODD)], "none", []),
        ([function("look", {}), function("odd", ODD)], LOOK, ["look"]),
        ([function("look", None), function("other", {})], "required", ["look", "other"]),
        (
            [function("look", {}), function("odd", ODD, strict=True)],
            {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [LOOK]}},
            ["look"],
        ),
    ],
)
def test_strict_and_forced_functions_are_bound(tools: list[dict[str, Any]], choice: Any, bound: list[str]) -> None:
    prompt = chat_with(*tools, tool_choice=choice).worker_prompt()
    assert list(orjson.loads(prompt.argument_schemas_json or b"{}")) == bound


@pytest.mark.parametrize(
    ("tools", "choice", "instead"),
    [
        ([function("look", {}), function("odd", ODD, strict=True)], "auto", "leave out 'strict'"),
        ([function("look", {}), function("odd", ODD)], "required", "use tool_choice 'auto'"),
    ],
)
def test_an_odd_schema_is_refused_only_where_it_would_bind(
    tools: list[dict[str, Any]], choice: Any, instead: str
) -> None:
    with pytest.raises(InvalidRequest, match="the keyword 'not' at '/not'") as refused:
        chat_with(*tools, tool_choice=choice)
    assert refused.value.param == "tools[1].function.parameters"
    assert instead in refused.value.message


def test_a_forced_call_leaves_no_text_to_format() -> None:
    form = schema({"type": "object"})
    assert chat_with(function("look", {}), **form).sampling().HasField("json_schema")
    assert not chat_with(function("look", {}), tool_choice=LOOK, **form).sampling().HasField("json_schema")
    with pytest.raises(InvalidRequest) as refused:
        chat_with(function("look", {}), tool_choice="required", structured_outputs={"regex": "a"})
    assert refused.value.param == "structured_outputs"


def completion(**fields: Any) -> CompletionRequest:
    return validation.check(CompletionRequest, {"model": "m", **fields})


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("tide", ["tide"]),
        ([1, 2], [[1, 2]]),
        (["tide"], ["tide"]),
        ([[1, 2]], [[1, 2]]),
        (["ebb", "flow"], ["ebb", "flow"]),
        ([[1], [2, 3]], [[1], [2, 3]]),
    ],
)
def test_a_completion_has_one_prompt_or_several(prompt: Any, prompts: Any) -> None:
    assert completion(prompt=prompt).prompts == prompts


def test_more_answers_are_generated_than_shown_when_the_best_are_asked_for() -> None:
    best = completion(prompt="a", n=2, best_of=5)
    assert (best.sampling().n, best.sampling().top_logprobs, best.shown().best) == (5, 0, 2)
    assert best.sampling().HasField("top_logprobs")
    assert best.shown().hides_logprobs
    assert not completion(prompt="a", n=2, best_of=5, logprobs=1).shown().hides_logprobs
    assert completion(prompt="a", n=2, best_of=2).shown() == completion(prompt="a", n=2).shown()
    assert completion(prompt="a", best_of=1, stream=True).sampling().n == 1


@pytest.mark.parametrize(
    ("fields", "limit"),
    [
        ({}, 16),
        ({"max_tokens": None}, 16),
        ({"min_tokens": 8}, 16),
        ({"min_tokens": 40}, 40),
        ({"echo": True}, 16),
        ({"max_tokens": 16}, 16),
        ({"max_tokens": 5, "min_tokens": 5}, 5),
        ({"max_tokens": 0, "echo": True}, 0),
    ],
)
def test_a_completion_has_16_tokens_unless_it_says_otherwise(fields: dict[str, Any], limit: int) -> None:
    sampling = completion(prompt="a", **fields).sampling()
    assert (sampling.max_tokens, sampling.max_tokens_may_shrink) == (limit, True)


def test_a_chat_and_tokens_have_what_the_context_leaves() -> None:
    chat = validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER]})
    bare = validation.check(GenerateRequest, {"token_ids": [1], "sampling_params": {"min_tokens": 40}})
    for request in (chat, bare.completion("m")):
        assert not request.sampling().HasField("max_tokens")
        assert not request.sampling().max_tokens_may_shrink


def test_an_empty_suffix_is_none() -> None:
    assert completion(prompt="a", suffix="", echo=True).sampling().suffix == ""
    assert completion(prompt="a", suffix="b").sampling().suffix == "b"


def test_truncation_and_special_tokens() -> None:
    kept = completion(prompt="a", truncate_prompt_tokens=-1, truncation_side="right", add_special_tokens=False)
    assert (kept.sampling().truncate_prompt_tokens, kept.sampling().keep_prompt_start) == (-1, True)
    assert kept.sampling().HasField("add_special_tokens")
    assert not kept.sampling().add_special_tokens
    assert not completion(prompt="a", truncation_side="left").sampling().truncate_prompt_tokens


TAG = {"type": "structural_tag", "format": {"type": "any_text"}}
OLD_TAG = {
    "type": "structural_tag",
    "structures": [{"begin": "<at>", "schema": {"type": "string"}, "end": "</at>"}],
    "triggers": ["<at>"],
}


def test_a_structural_tag_comes_in_three_forms() -> None:
    as_format = completion(prompt="a", response_format=TAG).sampling().structural_tag
    as_output = completion(prompt="a", structured_outputs={"structural_tag": TAG}).sampling().structural_tag
    as_text = (
        completion(prompt="a", structured_outputs={"structural_tag": orjson.dumps(TAG).decode()})
        .sampling()
        .structural_tag
    )
    assert orjson.loads(as_format) == orjson.loads(as_output) == orjson.loads(as_text) == TAG


def test_the_older_structural_tag_is_written_anew() -> None:
    tag = orjson.loads(completion(prompt="a", response_format=OLD_TAG).sampling().structural_tag)
    (only,) = tag["format"]["tags"]
    assert tag["format"]["triggers"] == ["<at>"]
    content = {"type": "json_schema", "json_schema": {"type": "string"}}
    assert only == {"begin": "<at>", "content": content, "end": "</at>"}


def test_completions_have_response_formats() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
    assert orjson.loads(completion(prompt="a", response_format=form).sampling().json_schema) == {"type": "object"}
    assert completion(prompt="a", response_format={"type": "json_object"}).sampling().json_object
    assert completion(prompt="a", response_format={"type": "text"}).sampling().WhichOneof("structure") is None


def test_documents_reach_the_template() -> None:
    documents = [{"title": "Tides", "text": "Neap tides are small."}]
    asked = validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], "documents": documents})
    assert orjson.loads(asked.worker_prompt().documents_json) == documents
    without = validation.check(ChatCompletionRequest, {"model": "m", "messages": [USER], "documents": []})
    assert not without.worker_prompt().documents_json
