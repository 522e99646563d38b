"""What is asked: prompts, and parameters whose state must come along when another worker goes on."""

from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from loadtests.target import CHAT

COMPLETIONS = "/completions"


@dataclass(frozen=True, slots=True)
class Question:
    """path: of the API; body: its JSON."""

    path: str
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.body)
        return document


def questions(model: str, parameters: tuple[dict[str, Any], ...], prompts: int, seed: int) -> list[Question]:
    """Each of the `parameters` with as many prompts."""
    random = Random(seed)
    return [
        _question(model, f"Where does tide number {random.randrange(10_000)} go?", one) for one in parameters * prompts
    ]


def _question(model: str, text: str, parameters: dict[str, Any]) -> Question:
    asked = {"model": model, "stream": True, "stream_options": {"include_usage": True}, **parameters}
    if parameters.get("echo"):
        return Question(COMPLETIONS, orjson.dumps({**asked, "prompt": text}))
    return Question(CHAT, orjson.dumps({**asked, "messages": [{"role": "user", "content": text}]}))


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

# Greedy, in float32: what vLLM resumes exactly.
VLLM: tuple[dict[str, Any], ...] = (
    {**_ENDLESS, "temperature": 0, "max_tokens": 60},
    {**_ENDLESS, "temperature": 0, "max_tokens": 60, "stop": ["a tide that never comes"]},
    {**_ENDLESS, "temperature": 0, "max_tokens": 30, "n": 2},
    {"temperature": 0, "max_tokens": 60, "repetition_penalty": 1.2},
)
