"""Pydantic AI: runs, streams, tools, and every way to a structured output, over its three kinds of models."""

import asyncio
import json
import os
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, PromptedOutput, ToolOutput
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.providers.anthropic import AnthropicProvider

# settings: Python; `OpenAIResponsesModel` and `AnthropicModel` work too
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

provider = OpenAIProvider(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
chat = OpenAIChatModel("tide", provider=provider)
# end of settings

asked = json.loads(os.environ["ASKED"])
responses = OpenAIResponsesModel("tide", provider=provider)
messages = AnthropicModel(
    "tide",
    provider=AnthropicProvider(base_url=os.environ["ANTHROPIC_BASE_URL"], api_key=os.environ["ANTHROPIC_API_KEY"]),
)


class Tide(BaseModel):
    harbour: str
    rising: bool


async def told(model: Any, *, native: bool = True) -> dict[str, Any]:
    calls: list[dict[str, Any]] = []

    def tide_table(harbour: str) -> str:
        """When the tide turns."""
        calls.append({"harbour": harbour})
        return str(asked["result"])

    async with Agent(model).run_stream(asked["stream"]) as stream:
        pieces = [piece async for piece in stream.stream_text(delta=True, debounce_by=None)]
    forms: dict[str, Any] = {"tool": ToolOutput(Tide, name="Tide"), "prompted": PromptedOutput(Tide)}
    if native:
        forms["native"] = NativeOutput(Tide)
    return {
        "hello": (await Agent(model).run(asked["hello"])).output,
        "stream": pieces,
        "tools": {"answer": (await Agent(model, tools=[tide_table]).run(asked["tools"])).output, "calls": calls},
        "structured": {
            form: (await Agent(model, output_type=output).run(asked["structured"])).output.model_dump()
            for form, output in forms.items()
        },
    }


async def each() -> dict[str, Any]:
    return {
        "chat": await told(chat),
        "responses": await told(responses),
        # It takes only Anthropic's newest models to be able to.
        "messages": await told(messages, native=False),
    }


json.dump(asyncio.run(each()), sys.stdout)
