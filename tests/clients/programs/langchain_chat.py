"""LangChain's chat model for OpenAI: answers, streams, tools, structured answers, errors."""

import json
import os
import sys
from typing import Any, Literal

import openai
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

CAPITAL = "What is the capital of Japan?"
BREST = "Is the tide rising in Brest?"


class TideTable(BaseModel):
    """When the tide turns in a harbour."""

    harbour: Literal["Bergen", "Brest"]
    rising: bool


def chat(model: str, **fields: Any) -> ChatOpenAI:
    return ChatOpenAI(model=model, temperature=0, max_retries=0, **{"max_tokens": 20, **fields})


def error() -> str:
    try:
        chat("nobody").invoke(CAPITAL)
    except openai.APIStatusError as refused:
        return type(refused).__name__
    return "none"


model = openai.OpenAI(base_url=os.environ["OPENAI_BASE_URL"]).models.list().data[0].id
bounded = chat(model, max_tokens=200, frequency_penalty=1)
whole = chat(model).invoke(CAPITAL)
[call] = bounded.bind_tools([TideTable], tool_choice="required", strict=True).invoke(BREST).tool_calls
parsed = bounded.with_structured_output(TideTable, method="json_schema").invoke(BREST)
told = {
    "whole": whole.content,
    "streamed": "".join(str(chunk.content) for chunk in chat(model).stream(CAPITAL)),
    "responded": chat(model, use_responses_api=True).invoke(CAPITAL).text,
    "tokens": whole.usage_metadata["output_tokens"],
    "called": {"name": call["name"], "arguments": call["args"]},
    "parsed": parsed.model_dump(),
    "error": error(),
}
json.dump(told, sys.stdout)
