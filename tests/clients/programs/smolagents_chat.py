"""smolagents' OpenAI model: answers, streams, its tool-calling agent, response formats."""

import json
import os
import sys
from typing import Any

from smolagents import ChatMessage, MessageRole, ToolCallingAgent, tool

# settings: Python
from smolagents import OpenAIModel

model = OpenAIModel(model_id="tide", api_base=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
# end of settings

asked = json.loads(os.environ["ASKED"])
SCHEMA = {
    "type": "object",
    "properties": {"harbour": {"type": "string"}, "rising": {"type": "boolean"}},
    "required": ["harbour", "rising"],
    "additionalProperties": False,
}
calls: list[dict[str, Any]] = []


@tool
def tide_table(harbour: str) -> str:
    """When the tide turns.

    Args:
        harbour: where.
    """
    calls.append({"harbour": harbour})
    return str(asked["result"])


def user(text: str) -> list[Any]:
    return [ChatMessage(role=MessageRole.USER, content=[{"type": "text", "text": text}])]


agent = ToolCallingAgent(tools=[tide_table], model=model, max_steps=1, verbosity_level=0)
steps = agent.run(asked["tools"], stream=True)
results = [str(step.output) for step in steps if type(step).__name__ == "ToolOutput"]
schema = {"type": "json_schema", "json_schema": {"name": "Tide", "schema": SCHEMA, "strict": True}}
told = {
    "hello": model.generate(user(asked["hello"])).content,
    "stream": [piece.content or "" for piece in model.generate_stream(user(asked["stream"]))],
    # The agent asks for calls until one is `final_answer`, so its only step here ends with the tool's result.
    "tools": {"calls": calls, "answer": results[0]},
    "structured": {
        "response_format": json.loads(model.generate(user(asked["structured"]), response_format=schema).content)
    },
}
json.dump(told, sys.stdout)
