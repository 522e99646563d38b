"""LlamaIndex's OpenAI-like model: answers, streams, its function agent, structured predictions."""

import asyncio
import json
import os
import sys
from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

# settings: Python; it cannot know what a model is able to do, so it must be told
from llama_index.llms.openai_like import OpenAILike

model = OpenAILike(
    model="tide",
    api_base=os.environ["OPENAI_BASE_URL"],
    api_key=os.environ["OPENAI_API_KEY"],
    is_chat_model=True,
    is_function_calling_model=True,
)
# end of settings

asked = json.loads(os.environ["ASKED"])
calls: list[dict[str, Any]] = []


class Tide(BaseModel):
    """The tide in a harbour."""

    harbour: str
    rising: bool


def tide_table(harbour: str) -> str:
    """When the tide turns."""
    calls.append({"harbour": harbour})
    return str(asked["result"])


async def agent() -> str:
    return str(await FunctionAgent(tools=[tide_table], llm=model, streaming=True).run(asked["tools"]))


def structured(llm: OpenAILike) -> dict[str, Any]:
    prompt = PromptTemplate("{question}")
    return dict(llm.structured_predict(Tide, prompt, question=asked["structured"]).model_dump())


answer = asyncio.run(agent())
by_schema = model.model_copy(update={"should_use_structured_outputs": True})
told = {
    "hello": model.complete(asked["hello"]).text,
    "stream": [piece.delta or "" for piece in model.stream_complete(asked["stream"])],
    "tools": {"calls": calls, "answer": answer},
    "structured": {"call": structured(model), "schema": structured(by_schema)},
}
json.dump(told, sys.stdout)
