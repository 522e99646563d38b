"""Forced calls with vLLM's tool parsers and the real xgrammar, without an engine: whatever a model picks is valid."""

import json
from random import Random
from types import SimpleNamespace
from typing import Any

import jsonschema_rs
import pytest

from services.gateway.openai import validation
from services.gateway.openai.chat_request import ChatCompletionRequest
from services.worker.engine.contract import ChatPrompt, EngineInfo, EngineRequest, InvalidPrompt
from services.worker.wire import tokenizable
from tests.support.grammar_walk import END, VOCABULARY, compiler, walk
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
def tokenizer() -> Any:
    """One that knows characters only: the parsers find their marks in the text."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = models.WordLevel({word: number for number, word in enumerate(VOCABULARY)}, "</s>")
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(words), eos_token="</s>")


class Online:
    """The parts of vLLM's renderer that ours uses, without a model."""

    model_config = None

    def __init__(self, tokenizer: Any, parser: Any) -> None:
        self.renderer = SimpleNamespace(get_tokenizer=lambda: tokenizer)
        self.parser = parser
        self.rendered_tools: list[Any] = []

    def effective_chat_template_kwargs(self, chat: Any) -> dict[str, Any]:
        return {}

    def make_parser(self, chat: Any) -> Any:
        return self.parser(self.renderer.get_tokenizer(), chat.tools, chat_template_kwargs={})

    async def render_chat(self, chat: Any) -> Any:
        self.rendered_tools = [tool.model_dump(exclude_none=True) for tool in chat.tools]
        self.make_parser(chat).adjust_request(chat)
        return [], [{"prompt_token_ids": [END]}]


def online_of(tokenizer: Any, parser_name: str) -> Online:
    from vllm.parser import ParserManager

    parser = ParserManager.get_parser(
        tool_parser_name=parser_name,
        reasoning_parser_name=None,
        enable_auto_tools=True,
        model_name="m",
        tokenizer=tokenizer,
    )
    return Online(tokenizer, parser)


async def rendered(online: Any, prompt: ChatPrompt) -> Any:
    from services.worker.engine.vllm.render import Renderer

    info = EngineInfo("M", "v", context_tokens=4096, max_running=1, kv_tokens=4096, vocab_size=49_152)
    return await Renderer(online, "m", info).render(EngineRequest("r", prompt))


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
async def test_a_forced_call_has_valid_arguments(tokenizer: Any, parser_name: str, choice: Any) -> None:
    online = online_of(tokenizer, parser_name)
    made = await rendered(online, prompt_of(choice))
    for seed in range(2):
        calls = calls_of(online.make_parser(made.chat), made.chat, answer_of(made.structured, seed))
        assert calls
        for name, arguments in calls:
            given = json.loads(arguments)
            assert isinstance(given, dict), arguments
            schema = SCHEMAS[name]
            assert jsonschema_rs.is_valid({"maxProperties": 0} if schema is None else schema, given), arguments
            assert choice == "required" or name == choice["function"]["name"]


async def test_the_template_reads_the_tools_as_they_came(tokenizer: Any) -> None:
    online = online_of(tokenizer, "hermes")
    await rendered(online, prompt_of("required"))
    [described] = [tool["function"] for tool in online.rendered_tools if tool["function"]["name"] == "defined"]
    assert described == {"name": "defined", "parameters": DEFINED}


async def test_a_strict_function_is_bound_where_calls_are_free(tokenizer: Any) -> None:
    strict = {"type": "function", "function": {"name": "look", "parameters": DEFINED, "strict": True}}
    made = await rendered(online_of(tokenizer, "hermes"), prompt_of("auto", tools=[strict]))
    assert "Brest" in made.structured.structural_tag
    assert made.chat.tool_choice == "auto"


async def test_a_parser_that_cannot_force_a_call_says_so(tokenizer: Any) -> None:
    online = online_of(tokenizer, "hermes")
    online.parser = lambda *_, **__: SimpleNamespace(adjust_request=lambda chat: chat)
    with pytest.raises(InvalidPrompt, match="cannot force a call") as refused:
        await rendered(online, prompt_of("required"))
    assert refused.value.param == "tool_choice"
