"""The requests: prompts, and parameters with a state that must move with the stream to another worker."""

from random import Random
from typing import Any

import orjson

from tests.robustness.request import MODEL, Request, chat

COMPLETIONS = "/completions"


def requests(parameters: tuple[dict[str, Any], ...], prompts: int, seed: int) -> list[Request]:
    """Each of the parameters with so many prompts."""
    random = Random(seed)
    return [_request(f"Where does tide number {random.randrange(10_000)} go?", one) for one in parameters * prompts]


def _request(text: str, parameters: dict[str, Any]) -> Request:
    fields = {"stream": True, "stream_options": {"include_usage": True}, **parameters}
    if parameters.get("echo"):
        return Request(COMPLETIONS, orjson.dumps({"model": MODEL, "prompt": text, **fields}))
    return chat(text, **fields)


_ENDLESS = {"ignore_eos": True, "max_tokens": 120}

# The simulated engine resumes everything that it serves.
SIMULATED: tuple[dict[str, Any], ...] = (
    {**_ENDLESS},
    {**_ENDLESS, "stop": ["a tide that never comes"]},
    {**_ENDLESS, "max_tokens": 60, "n": 2},
    {**_ENDLESS, "logprobs": True, "top_logprobs": 2},
    {**_ENDLESS, "temperature": 0.9, "seed": 5, "frequency_penalty": 0.4},
    {**_ENDLESS, "echo": True},
    {"max_tokens": 200},
)

# Greedy, in float32: what vLLM resumes exactly. Long, as one layer is quick.
_GREEDY = {**_ENDLESS, "temperature": 0, "max_tokens": 500}
VLLM: tuple[dict[str, Any], ...] = (
    {**_GREEDY},
    {**_GREEDY, "stop": ["a tide that never comes"]},
    {**_GREEDY, "max_tokens": 250, "n": 2},
    {**_GREEDY, "repetition_penalty": 1.2},
)
