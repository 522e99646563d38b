"""litellm as a client: completions, streams, tools, structured answers, over three of its providers."""

import json
import os
import sys
from typing import Any

from pydantic import BaseModel

# settings: Python; `anthropic/tide` with the address without `/v1` takes messages
import litellm

model: dict[str, Any] = {
    "model": "openai/tide",
    "api_base": os.environ["OPENAI_BASE_URL"],
    "api_key": os.environ["OPENAI_API_KEY"],
}
# end of settings

asked = json.loads(os.environ["ASKED"])
PARAMETERS = {"type": "object", "properties": {"harbour": {"type": "string"}}, "required": ["harbour"]}
TOOLS = [{"type": "function", "function": {"name": "tide_table", "parameters": PARAMETERS}}]


class Tide(BaseModel):
    harbour: str
    rising: bool


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def told(model: dict[str, Any], structure: str = "Tide") -> dict[str, Any]:
    """`structure` names the tool with which a provider asks for a structure, if it does."""

    def ask(messages: list[Any], **fields: Any) -> Any:
        return litellm.completion(messages=messages, num_retries=0, max_tokens=1000, **model, **fields)

    messages = user(asked["tools"])
    first = ask(messages, tools=TOOLS).choices[0].message
    [call] = first.tool_calls
    messages += [first, {"role": "tool", "tool_call_id": call.id, "content": asked["result"]}]
    parsed = ask(user(asked["structured"].replace("Tide", structure)), response_format=Tide).choices[0].message.content
    return {
        "hello": ask(user(asked["hello"])).choices[0].message.content,
        "stream": [piece.choices[0].delta.content or "" for piece in ask(user(asked["stream"]), stream=True)],
        "tools": {
            "calls": [json.loads(call.function.arguments)],
            "answer": ask(messages, tools=TOOLS).choices[0].message.content,
        },
        "structured": {"response_format": Tide.model_validate_json(parsed).model_dump()},
    }


anthropic = {
    "model": "anthropic/tide",
    "api_base": os.environ["ANTHROPIC_BASE_URL"],
    "api_key": os.environ["ANTHROPIC_API_KEY"],
}
seen = {
    "openai": told(model),
    "hosted_vllm": told({**model, "model": "hosted_vllm/tide"}),
    "anthropic": told(anthropic, "json_tool_call"),
}
json.dump(seen, sys.stdout)
