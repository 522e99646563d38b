"""Forced calls with vLLM's tool parsers and the real xgrammar, without an engine: whatever a model picks is valid."""

import json
from pathlib import Path
from random import Random
from typing import Any

import jsonschema_rs
import pytest

from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.worker.engine.contract import ChatPrompt, InvalidPrompt
from services.worker.wire import tokenizable
from tests.support.grammar_walk import END, compiler, walk
from tidegate.worker.v1 import worker_pb2

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]

NODE = {"type": "object", "properties": {"v": {"type": "integer"}, "next": {"$ref": "#"}}, "required": ["v"]}
DEFINED = {
    "properties": {"at": {"$ref": "#/definitions/a%20port"}},
    "required": ["at"],
    "definitions": {"a port": {"enum": ["Brest", "Kiel"]}},
}
SCHEMAS: dict[str, Any] = {
    "anything": {},
    "true": True,
    "object": {"type": "object"},
    "untyped": {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
    "absent": None,
    "recursive": NODE,
    "defined": DEFINED,
}
NAMED = [{"type": "function", "function": {"name": name}} for name in SCHEMAS]


def prompt_of(choice: Any, schemas: dict[str, Any] = SCHEMAS, **more: Any) -> ChatPrompt:
    """What a worker reads, by way of the gateway's own checks."""
    tools = [{"type": "function", "function": {"name": name, "parameters": value}} for name, value in schemas.items()]
    document = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": tools, "tool_choice": choice}
    request = validation.check(ChatCompletionRequest, {**document, **more})
    prompt = tokenizable(worker_pb2.TokenizeRequest(chat=request.worker_prompt()))
    assert isinstance(prompt, ChatPrompt)
    return prompt


@pytest.fixture(scope="module")
def tokenizer(smollm2_folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(smollm2_folder)


def parser_and_chat(tokenizer: Any, name: str, prompt: ChatPrompt) -> tuple[Any, Any]:
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest as VllmRequest
    from vllm.parser import ParserManager

    from services.worker.engine.vllm.call_binding import bound_tools

    kind = ParserManager.get_parser(
        tool_parser_name=name, reasoning_parser_name=None, enable_auto_tools=True, model_name="m", tokenizer=tokenizer
    )
    chat = VllmRequest(
        model="m", messages=prompt.messages, tools=bound_tools(prompt), tool_choice=prompt.tool_choice, stream=True
    )
    return kind(tokenizer, chat.tools, chat_template_kwargs={}), chat


def answer_of(structured: Any, seed: int) -> str:
    """A text that the grammar allows."""
    made = compiler()
    if structured.structural_tag is not None:
        grammar = made.compile_structural_tag(structured.structural_tag)
    else:
        schema = structured.json if isinstance(structured.json, str) else json.dumps(structured.json)
        grammar = made.compile_json_schema(schema, any_whitespace=False, separators=(",", ":"))
    return walk(grammar, Random(seed))


def calls_of(parser: Any, chat: Any, text: str) -> list[tuple[str, str]]:
    """The calls that a client reads from a stream, one character a token."""
    calls: dict[int, list[str]] = {}
    for at, character in enumerate(text):
        message = parser.parse_delta(
            delta_text=character,
            delta_token_ids=[END],
            request=chat,
            prompt_token_ids=[END],
            finished=at + 1 == len(text),
        )
        for part in message.tool_calls if message else ():
            call = calls.setdefault(part.index, ["", ""])
            call[0] += (part.function and part.function.name) or ""
            call[1] += (part.function and part.function.arguments) or ""
    return [(name, arguments) for name, arguments in calls.values()]


@pytest.mark.parametrize("parser_name", ["hermes", "xlam"], ids=["tags", "a list in JSON"])
@pytest.mark.parametrize("choice", ["required", *NAMED], ids=["required", *SCHEMAS])
def test_a_forced_call_has_valid_arguments(tokenizer: Any, parser_name: str, choice: Any) -> None:
    from services.worker.engine.vllm.call_binding import bound_structure

    prompt = prompt_of(choice)
    for seed in range(3):
        parser, chat = parser_and_chat(tokenizer, parser_name, prompt)
        structured = bound_structure(parser, chat.model_copy(deep=True), prompt)
        calls = calls_of(parser, chat, answer_of(structured, seed))
        assert calls
        for name, arguments in calls:
            given = json.loads(arguments)
            assert isinstance(given, dict), arguments
            schema = SCHEMAS[name]
            assert jsonschema_rs.is_valid({"maxProperties": 0} if schema is None else schema, given), arguments
            assert choice == "required" or name == choice["function"]["name"]


def test_the_template_reads_the_tools_as_they_came() -> None:
    prompt = prompt_of("required")
    [described] = [tool["function"] for tool in prompt.tools or () if tool["function"]["name"] == "defined"]
    assert described == {"name": "defined", "parameters": DEFINED}


def test_a_parser_that_cannot_force_a_call_says_so(tokenizer: Any) -> None:
    from services.worker.engine.vllm.call_binding import bound_structure

    class Plain:
        def adjust_request(self, request: Any) -> Any:
            return request

    prompt = prompt_of("required")
    _, chat = parser_and_chat(tokenizer, "hermes", prompt)
    with pytest.raises(InvalidPrompt, match="cannot force a call") as refused:
        bound_structure(Plain(), chat, prompt)  # type: ignore[arg-type]
    assert refused.value.param == "tool_choice"
