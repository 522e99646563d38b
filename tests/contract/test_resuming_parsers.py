"""vLLM's tool and reasoning parsers across a seam: wherever an answer is cut, its reader has the same in the end.

A tokenizer and the parsers, without an engine; what they read was written by hand.
"""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from services.worker.credit import split
from services.worker.engine.contract import Delta, ResumePoint

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(900), pytest.mark.filterwarnings("default")]

CALLS = (
    "Let me look.\n"
    '<tool_call>\n{"name": "tide", "arguments": {"port": "Brest", "hours": [6, 12]}}\n</tool_call>\n'
    '<tool_call>\n{"name": "moon", "arguments": {"phase": "\u6e80\u6708"}}\n</tool_call>'
)
THOUGHTS = "<think>The tide is high.\nOr is it?</think>It is \u6e80\u6708, so the tide is high."
LIMIT = 400

MakeChoice = Callable[[], Any]


@pytest.fixture(
    scope="module", params=[("hermes", None, CALLS), (None, "deepseek_r1", THOUGHTS)], ids=["tools", "think"]
)
def case(request: pytest.FixtureRequest, smollm2_folder: Path) -> tuple[MakeChoice, list[int]]:
    """How a fresh choice is made, and the tokens of its answer."""
    from transformers import AutoTokenizer
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.parser import ParserManager

    from services.worker.engine.contract import Sampling
    from services.worker.engine.vllm.choice import Choice
    from services.worker.engine.vllm.decode import Decoder
    from services.worker.engine.vllm.parse import AnswerParser
    from services.worker.engine.vllm.sampling import text_params
    from services.worker.engine.vllm.token_bytes import TokenBytes

    tool_parser, reasoning_parser, answer = request.param
    tokenizer = AutoTokenizer.from_pretrained(smollm2_folder)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=False)
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("tide", "moon")]
    chat = ChatCompletionRequest(
        model="smollm2",
        messages=[{"role": "user", "content": "Tell."}],
        tools=tools if tool_parser else None,
        stream=True,
    )
    made = ParserManager.get_parser(
        tool_parser_name=tool_parser,
        reasoning_parser_name=reasoning_parser,
        enable_auto_tools=tool_parser is not None,
        model_name="smollm2",
        tokenizer=tokenizer,
    )
    prompt = tokenizer.encode("Tell.")

    def choice() -> Choice:
        params = text_params(Sampling(), skip_special_tokens=True)
        parser = AnswerParser(made(tokenizer, chat.tools, chat_template_kwargs={}), chat, prompt)
        return Choice(0, Decoder(tokenizer, params, prompt), parser, TokenBytes(tokenizer), LIMIT)

    return choice, [*tokenizer.encode(answer), tokenizer.eos_token_id]


def say(choice: Any, tokens: list[int], at_once: int = 1) -> list[Delta]:
    """The deltas of an engine that generates so many tokens a step and then stops."""
    deltas: list[Delta] = []
    for at in range(0, len(tokens), at_once):
        step = tokens[at : at + at_once]
        reason = "stop" if at + at_once >= len(tokens) else None
        output = SimpleNamespace(token_ids=step, logprobs=None, finish_reason=reason, stop_reason=None)
        deltas += choice.add_output(output, None)
    return deltas


def heard(deltas: list[Delta]) -> dict[str, Any]:
    calls: dict[int, dict[str, str]] = {}
    for part in (call for delta in deltas for call in delta.tool_calls):
        call = calls.setdefault(part.index, {"name": "", "arguments": ""})
        call["name"] += part.name
        call["arguments"] += part.arguments
    return {
        "text": "".join(delta.text for delta in deltas),
        "reasoning": "".join(delta.reasoning for delta in deltas),
        "calls": calls,
        "endings": [delta.finish_reason for delta in deltas if delta.finish_reason],
        "text_end": deltas[-1].text_end,
    }


def test_what_is_heard_is_right(case: tuple[MakeChoice, list[int]]) -> None:
    choice, tokens = case
    whole = heard(say(choice(), tokens))
    if whole["calls"]:
        names = [(call["name"], json.loads(call["arguments"])) for call in whole["calls"].values()]
        assert names == [("tide", {"port": "Brest", "hours": [6, 12]}), ("moon", {"phase": "\u6e80\u6708"})]
        assert whole["endings"] == ["tool_calls"]
    else:
        assert whole["reasoning"] == "The tide is high.\nOr is it?"
        assert whole["text"] == "It is \u6e80\u6708, so the tide is high."


@pytest.mark.parametrize("at_once", [3, 1000])
def test_it_does_not_depend_on_how_many_tokens_come_at_once(case: tuple[MakeChoice, list[int]], at_once: int) -> None:
    choice, tokens = case
    assert heard(say(choice(), tokens, at_once)) == heard(say(choice(), tokens))


@pytest.mark.parametrize("torn", [False, True])
def test_wherever_it_is_cut_the_rest_is_the_same(case: tuple[MakeChoice, list[int]], torn: bool) -> None:
    choice, tokens = case
    whole = say(choice(), tokens)
    for cut in range(1, len(tokens)):
        told = whole[:cut]
        if torn:
            told = [*told[:-1], split(told[-1], 1)[0]]
        resumed = choice()
        assert not list(resumed.resume(ResumePoint(tuple(tokens[:cut]), told[-1].text_end)))
        assert heard([*told, *say(resumed, tokens[cut:])]) == heard(whole), cut
