"""OpenAI's client for Python: chat and responses, streams, tools, parsed answers."""

import json
import os
import sys
from typing import Any

from pydantic import BaseModel

# settings: Python; without arguments it reads the same variables
from openai import OpenAI

client = OpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"], max_retries=0)
# end of settings

asked = json.loads(os.environ["ASKED"])
SCHEMA = {"type": "object", "properties": {"harbour": {"type": "string"}}, "required": ["harbour"]}
MODEL = "tide"


class Tide(BaseModel):
    harbour: str
    rising: bool


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def chat_tools() -> tuple[dict[str, Any], str]:
    messages = user(asked["tools"])
    tools: list[Any] = [{"type": "function", "function": {"name": "tide_table", "parameters": SCHEMA}}]
    first: Any = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0].message
    [call] = first.tool_calls or []
    messages += [first, {"role": "tool", "tool_call_id": call.id, "content": asked["result"]}]
    last = client.chat.completions.create(model=MODEL, messages=messages, tools=tools).choices[0].message
    return json.loads(call.function.arguments), last.content or ""


def response_tools() -> tuple[dict[str, Any], str]:
    items = user(asked["tools"])
    tools: list[Any] = [{"type": "function", "name": "tide_table", "parameters": SCHEMA}]
    first = client.responses.create(model=MODEL, input=items, tools=tools)
    [call] = [item for item in first.output if item.type == "function_call"]
    items += [*first.output, {"type": "function_call_output", "call_id": call.call_id, "output": asked["result"]}]
    return json.loads(call.arguments), client.responses.create(model=MODEL, input=items, tools=tools).output_text


pieces = [
    chunk.choices[0].delta.content or ""
    for chunk in client.chat.completions.create(model=MODEL, messages=user(asked["stream"]), stream=True)
]
with client.responses.stream(model=MODEL, input=asked["stream"]) as events:
    response_pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
called, answer = chat_tools()
response_called, response_answer = response_tools()
parsed: Any = client.chat.completions.parse(model=MODEL, messages=user(asked["structured"]), response_format=Tide)
response_parsed: Any = client.responses.parse(model=MODEL, input=asked["structured"], text_format=Tide).output_parsed
hello = client.chat.completions.create(model=MODEL, messages=user(asked["hello"])).choices[0].message.content
told = {
    "chat": {
        "hello": hello,
        "stream": pieces,
        "tools": {"calls": [called], "answer": answer},
        "structured": {"parse": parsed.choices[0].message.parsed.model_dump()},
    },
    "responses": {
        "hello": client.responses.create(model=MODEL, input=asked["hello"]).output_text,
        "stream": response_pieces,
        "tools": {"calls": [response_called], "answer": response_answer},
        "structured": {"parse": response_parsed.model_dump()},
    },
}
json.dump(told, sys.stdout)
