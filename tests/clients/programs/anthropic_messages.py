"""Anthropic's client for Python: messages, streams, the tool runner, parsed answers."""

import json
import os
import sys
from typing import Any

from pydantic import BaseModel

# settings: Python; `ANTHROPIC_BASE_URL` is the address without `/v1`
from anthropic import Anthropic, beta_tool

client = Anthropic(base_url=os.environ["ANTHROPIC_BASE_URL"], api_key=os.environ["ANTHROPIC_API_KEY"], max_retries=0)
# end of settings

asked = json.loads(os.environ["ASKED"])
calls: list[dict[str, Any]] = []


class Tide(BaseModel):
    harbour: str
    rising: bool


@beta_tool
def tide_table(harbour: str) -> str:
    """When the tide turns.

    Args:
        harbour: where.
    """
    calls.append({"harbour": harbour})
    return str(asked["result"])


def user(text: str) -> dict[str, Any]:
    return {"model": "tide", "max_tokens": 1000, "messages": [{"role": "user", "content": text}]}


with client.messages.stream(**user(asked["stream"])) as stream:
    pieces = list(stream.text_stream)
last = client.beta.messages.tool_runner(tools=[tide_table], **user(asked["tools"])).until_done()
parsed: Any = client.messages.parse(output_format=Tide, **user(asked["structured"]))
told = {
    "hello": client.messages.create(**user(asked["hello"])).content[0].text,
    "stream": pieces,
    "tools": {"calls": calls, "answer": last.content[0].text},
    "structured": {"parse": parsed.parsed_output.model_dump()},
}
json.dump(told, sys.stdout)
