"""Haystack's generators for OpenAI: answers, streams, its agent's tools, response formats."""

import json
import os
import sys
from typing import Annotated, Any

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import tool
from pydantic import BaseModel

# settings: Python; `OpenAIResponsesChatGenerator` takes responses
from haystack.components.generators.chat import OpenAIChatGenerator

generator = OpenAIChatGenerator(model="tide", api_base_url=os.environ["OPENAI_BASE_URL"])  # and OPENAI_API_KEY
# end of settings

asked = json.loads(os.environ["ASKED"])
calls: list[dict[str, Any]] = []


class Tide(BaseModel):
    harbour: str
    rising: bool


@tool
def tide_table(harbour: Annotated[str, "where"]) -> str:
    """When the tide turns."""
    calls.append({"harbour": harbour})
    return str(asked["result"])


def told(kind: Any, structure: dict[str, Any]) -> dict[str, Any]:
    def make(**fields: Any) -> Any:
        return kind(model="tide", api_base_url=os.environ["OPENAI_BASE_URL"], **fields)

    def ask(prompt: str, **fields: Any) -> str:
        return str(make(**fields).run([ChatMessage.from_user(prompt)])["replies"][0].text)

    calls.clear()
    pieces: list[str] = []
    ask(asked["stream"], streaming_callback=lambda chunk: pieces.append(chunk.content))
    agent = Agent(chat_generator=make(), tools=[tide_table])
    answer = agent.run(messages=[ChatMessage.from_user(asked["tools"])])["messages"][-1].text
    return {
        "hello": ask(asked["hello"]),
        "stream": pieces,
        "tools": {"calls": list(calls), "answer": answer},
        "structured": {"schema": json.loads(ask(asked["structured"], generation_kwargs=structure))},
    }


json.dump(
    {
        "chat": told(OpenAIChatGenerator, {"response_format": Tide}),
        "responses": told(OpenAIResponsesChatGenerator, {"text_format": Tide}),
    },
    sys.stdout,
)
