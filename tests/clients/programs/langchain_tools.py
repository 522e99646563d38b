"""LangChain's chat model for OpenAI: chat and responses, streams, tools, every method of a structured output."""

import json
import os
import sys
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel

# settings: Python; `use_responses_api=True` takes responses
from langchain_openai import ChatOpenAI

model = ChatOpenAI(model="tide", base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"])
# end of settings

asked = json.loads(os.environ["ASKED"])
calls: list[dict[str, Any]] = []


class Tide(BaseModel):
    """The tide in a harbour."""

    harbour: str
    rising: bool


@tool
def tide_table(harbour: str) -> str:
    """When the tide turns."""
    calls.append({"harbour": harbour})
    return str(asked["result"])


def told(model: ChatOpenAI, methods: tuple[str, ...]) -> dict[str, Any]:
    calls.clear()
    able = model.bind_tools([tide_table])
    messages: list[Any] = [HumanMessage(asked["tools"])]
    first = able.invoke(messages)
    results = [ToolMessage(tide_table.invoke(call["args"]), tool_call_id=call["id"]) for call in first.tool_calls]
    return {
        "hello": model.invoke(asked["hello"]).text,
        "stream": [piece.text for piece in model.stream(asked["stream"])],
        "tools": {"calls": list(calls), "answer": able.invoke([*messages, first, *results]).text},
        "structured": {
            method: model.with_structured_output(Tide, method=method).invoke(asked["structured"]).model_dump()
            for method in methods
        },
    }


responses = ChatOpenAI(model="tide", use_responses_api=True)
json.dump(
    {
        "chat": told(model, ("json_schema", "function_calling", "json_mode")),
        "responses": told(responses, ("json_schema", "function_calling")),
    },
    sys.stdout,
)
