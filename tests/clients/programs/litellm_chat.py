"""litellm as a client: answers, streams, tools, structured answers, errors."""

import asyncio
import json
import os
import sys
from typing import Any, Literal

import litellm
import openai
from pydantic import BaseModel

CAPITAL = [{"role": "user", "content": "What is the capital of Japan?"}]
BREST = [{"role": "user", "content": "Is the tide rising in Brest?"}]
BOUNDED: dict[str, Any] = {"messages": BREST, "max_tokens": 200, "frequency_penalty": 1}


class Tide(BaseModel):
    harbour: Literal["Bergen", "Brest"]
    rising: bool


def ask(**fields: Any) -> Any:
    return litellm.completion(api_base=os.environ["OPENAI_BASE_URL"], num_retries=0, **fields)


async def streamed(model: str) -> str:
    stream = await litellm.acompletion(
        api_base=os.environ["OPENAI_BASE_URL"], model=model, messages=CAPITAL, temperature=0, max_tokens=20, stream=True
    )
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


def error() -> str:
    try:
        ask(model="openai/nobody", messages=CAPITAL)
    except openai.APIStatusError as refused:
        return type(refused).__name__
    return "none"


model = "openai/" + openai.OpenAI().models.list().data[0].id
whole = ask(model=model, messages=CAPITAL, temperature=0, max_tokens=20)
tool = {"type": "function", "function": {"name": "tide_table", "strict": True, "parameters": Tide.model_json_schema()}}
call = ask(model=model, tools=[tool], tool_choice="required", **BOUNDED).choices[0].message.tool_calls[0].function
parsed = ask(model=model, response_format=Tide, **BOUNDED).choices[0].message.content
responded = litellm.responses(
    api_base=os.environ["OPENAI_BASE_URL"],
    model=model,
    input=CAPITAL[0]["content"],
    max_output_tokens=20,
    temperature=0,
)
told = {
    "whole": whole.choices[0].message.content,
    "streamed": asyncio.run(streamed(model)),
    "responded": responded.output_text,
    "tokens": whole.usage.completion_tokens,
    "called": {"name": call.name, "arguments": json.loads(call.arguments)},
    "parsed": Tide.model_validate_json(parsed).model_dump(),
    "error": error(),
}
json.dump(told, sys.stdout)
