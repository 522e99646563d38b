"""Tools over the whole cluster with the openai client: scripted calls, and calls that are forced."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError

from tests.support.cluster import RunningCluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

PORT: dict[str, Any] = {
    "properties": {"port": {"$ref": "#/definitions/a%20port"}, "hours": {"type": "array", "minItems": 1}},
    "required": ["port", "hours"],
    "definitions": {"a port": {"enum": ["Brest"]}},
}
ODD = {"type": "object", "not": {"required": ["x"]}, "required": None}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "tide", "parameters": PORT}},
    {"type": "function", "function": {"name": "odd", "parameters": ODD}},
]
TIDE: Any = {"type": "function", "function": {"name": "tide"}}


@pytest.fixture
async def openai(simulated: RunningCluster) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key, max_retries=0) as client:
        yield client


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


async def test_a_forced_call_streamed_and_not(openai: AsyncOpenAI) -> None:
    asked: Any = {"model": "tide", "messages": user("When?"), "tools": TOOLS, "tool_choice": TIDE}
    form: Any = {"type": "json_object"}
    whole: Any = (await openai.chat.completions.create(**asked, response_format=form)).choices[0]
    [call] = whole.message.tool_calls
    assert (call.type, whole.finish_reason, whole.message.content) == ("function", "tool_calls", None)
    assert call.function.name == "tide"
    given = json.loads(call.function.arguments)
    assert given["port"] == "Brest"
    assert len(given["hours"]) == 1

    name, arguments, endings = "", "", []
    async for chunk in await openai.chat.completions.create(**asked, stream=True):
        for choice in chunk.choices:
            endings += [choice.finish_reason] if choice.finish_reason else []
            for part in choice.delta.tool_calls or ():
                name += (part.function and part.function.name) or ""
                arguments += (part.function and part.function.arguments) or ""
    assert (name, arguments, endings) == ("tide", call.function.arguments, ["tool_calls"])


async def test_an_odd_tool_stops_only_its_own_forced_call(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model="tide", messages=user("Hi."), tools=TOOLS, max_tokens=4)
    assert answer.choices[0].message.content
    with pytest.raises(BadRequestError, match="the keyword 'not' at '/not'") as refused:
        await openai.chat.completions.create(
            model="tide",
            messages=user("Hi."),
            tools=TOOLS,
            tool_choice={"type": "function", "function": {"name": "odd"}},
        )
    assert refused.value.param == "tools[1].function.parameters"


async def test_a_scripted_round_trip(openai: AsyncOpenAI) -> None:
    script = {"think": "Hm.", "say": "I look.", "call": {"name": "tide", "arguments": {"port": "Brest"}}}
    messages = user(f"When? SCRIPT: {json.dumps(script)}")
    first: Any = (await openai.chat.completions.create(model="tide", messages=messages, tools=TOOLS)).choices[0]
    [call] = first.message.tool_calls
    assert (first.message.content, first.finish_reason) == ("I look.", "tool_calls")
    assert first.message.model_dump()["reasoning_content"] == "Hm."
    assert json.loads(call.function.arguments) == {"port": "Brest"}
    messages += [first.message, {"role": "tool", "tool_call_id": call.id, "content": "at six"}]
    last = (await openai.chat.completions.create(model="tide", messages=messages, tools=TOOLS)).choices[0]
    assert (last.message.content, last.finish_reason) == ("The tool said: at six", "stop")
