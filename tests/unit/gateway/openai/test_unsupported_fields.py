"""What would change the answer and cannot be done is refused, with the field's name and what to use instead."""

from typing import Any

import pytest

from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.gateway.openai.completion_request import CompletionRequest
from services.gateway.openai.fields import Request
from services.gateway.openai.responses_request import ResponsesRequest
from services.gateway.openai.unsupported_fields import UNSUPPORTED, UNSUPPORTED_VALUES
from services.shared.errors import InvalidRequest

USER = {"role": "user", "content": "hi"}
CALL = {"name": "look", "arguments": "{}"}


def refused(kind: type[Request], document: dict[str, Any]) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as error:
        validation.accept(kind, {"model": "m", **document})
    return error.value


@pytest.mark.parametrize(
    ("changes", "param", "instead"),
    [
        ({"functions": [{"name": "look"}]}, "functions", "'tools'"),
        ({"function_call": "auto"}, "function_call", "'tool_choice'"),
        ({"audio": {"voice": "a"}}, "audio", "text"),
        ({"modalities": ["text", "audio"]}, "modalities", "text"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction", "leave it out"),
        ({"guided_json": {"type": "object"}}, "guided_json", "'structured_outputs.json'"),
        ({"guided_regex": "a"}, "guided_regex", "'structured_outputs.regex'"),
        ({"n": 17}, "n", "at most 16"),
        ({"best_of": 3}, "best_of", "'n'"),
        ({"max_output_tokens": 5}, "max_output_tokens", "'max_tokens'"),
        ({"messages": [USER, {"role": "assistant", "function_call": CALL}]}, "messages[1].function_call", "tool_calls"),
        ({"messages": [{"role": "assistant", "audio": {"id": "a"}}]}, "messages[0].audio", "text"),
        ({"messages": [USER, {"role": "assistant", "content": "x", "prefix": True}]}, "messages[1].prefix", "leave"),
        ({"response_format": {"type": "json_object", "schema": {"a": 1}}}, "response_format.schema", "json_schema"),
        ({"chat_template": "x", "temperature": "hot"}, "chat_template", "leave it out"),
    ],
)
def test_chats(changes: dict[str, Any], param: str, instead: str) -> None:
    error = refused(ChatCompletionRequest, {"messages": [USER], **changes})
    assert error.param == param
    assert error.code in ("unsupported_parameter", "unsupported_value")
    assert f"'{param}'" in error.message
    assert instead in error.message


def test_fields_of_another_endpoint_name_the_right_one() -> None:
    assert "'messages'" in refused(ChatCompletionRequest, {"prompt": "hi"}).message
    assert "'prompt'" in refused(CompletionRequest, {"messages": [USER]}).message
    assert "'input'" in refused(ResponsesRequest, {"messages": [USER]}).message
    assert "'max_output_tokens'" in refused(ResponsesRequest, {"input": "hi", "max_tokens": 5}).message


HARMLESS: dict[str, Any] = {
    "n": 1,
    "best_of": 1,
    "length_penalty": 1.0,
    "add_generation_prompt": True,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "modalities": ["text"],
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_asks_for_nothing_is_left_out(name: str) -> None:
    row = UNSUPPORTED[name]
    assert not row.asks(None)
    assert not any(row.asks(value) for value in ([HARMLESS[name]] if name in HARMLESS else (False, "", [], {})))
    assert row.asks({"content": "x"}) or name in HARMLESS


def test_rows_are_sentences_about_their_field() -> None:
    for name, row in {**UNSUPPORTED, **UNSUPPORTED_VALUES}.items():
        message = row.error(name).message
        assert message.startswith(f"Unsupported parameter: '{name}'. ")
        assert message.endswith(".")
        assert len(message) < 160


def test_rows_of_values_are_of_fields_that_requests_have() -> None:
    known = {name for kind in (ChatCompletionRequest, CompletionRequest, ResponsesRequest) for name in kind.attributes}
    assert {name for name in UNSUPPORTED_VALUES if "." not in name} <= known
