"""OpenAI's Agents SDK: runs, streamed runs, function tools, output types; over Responses and over chat."""

import asyncio
import json
import os
import sys
from typing import Any

from agents import Agent, Runner, function_tool
from pydantic import BaseModel

asked = json.loads(os.environ["ASKED"])
calls: list[dict[str, Any]] = []

# settings: Python; `set_default_openai_api("chat_completions")` takes chats instead of responses
from agents import set_default_openai_api, set_default_openai_client, set_tracing_disabled
from openai import AsyncOpenAI

set_default_openai_client(AsyncOpenAI(base_url=os.environ["OPENAI_BASE_URL"], api_key=os.environ["OPENAI_API_KEY"]))
set_tracing_disabled(True)  # traces go to OpenAI
# end of settings


class Tide(BaseModel):
    harbour: str
    rising: bool


@function_tool
def tide_table(harbour: str) -> str:
    """When the tide turns."""
    calls.append({"harbour": harbour})
    return str(asked["result"])


def agent(**fields: Any) -> Agent[Any]:
    return Agent(name="Harbour master", instructions="Know the tides.", model="tide", **fields)


async def told() -> dict[str, Any]:
    calls.clear()
    streamed = Runner.run_streamed(agent(), asked["stream"])
    pieces = [
        event.data.delta
        async for event in streamed.stream_events()
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta"
    ]
    tools = await Runner.run(agent(tools=[tide_table]), asked["tools"])
    parsed = await Runner.run(agent(output_type=Tide), asked["structured"])
    return {
        "hello": (await Runner.run(agent(), asked["hello"])).final_output,
        "stream": pieces,
        "tools": {"calls": list(calls), "answer": tools.final_output},
        "structured": {"output_type": parsed.final_output.model_dump()},
    }


async def both() -> dict[str, Any]:
    responses = await told()
    set_default_openai_api("chat_completions")
    return {"responses": responses, "chat": await told()}


json.dump(asyncio.run(both()), sys.stdout)
