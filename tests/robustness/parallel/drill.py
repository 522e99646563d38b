"""One drill: a model in one process, as parts of each layer and as stages; all give the same answers.

A worker that loses a part is replaced as a whole.
"""

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any

import psutil
from openai import AsyncOpenAI

from services.local.cluster_record import ProcessRecord
from tests.support.cluster import UP_S, RunningCluster
from tests.support.processes import is_gone
from tests.support.wait import wait_until

MODEL = "smollm2-135m-instruct"
WHOLE = "whole"
PARTS = {"tensor": "tensor_parallel: 3", "pipeline": "pipeline_parallel: 2"}
"""Pools of several processes. SmolLM2 has nine attention heads, so it can be split in three and not in two."""
SETTINGS = "kind: vllm, dtype: float32, context_tokens: 512, kv_memory_gib: 0.1"
TOKENS = 24
NEAR_TIE = 0.01
"""Parts of a sum are added in another order. Where two tokens are nearly as likely, either may come out of it.

The difference of their log probabilities, below which they count as nearly as likely.
"""
PART = "VLLM::Worker"
"""How vLLM names the processes of the parts."""
START = (
    "The capital of Japan is",
    "Water boils when",
    "A tide table says",
    "My favourite animal is",
    "Once upon a time",
)
TOPICS = ("sea", "moon", "boat", "city", "river", "book", "garden", "teacher", "winter", "bread")


@dataclass(frozen=True, slots=True)
class Answer:
    """A greedy answer: its tokens as text, and by how much each was more likely than the second choice."""

    tokens: list[str]
    margins: list[float]


def config(name: str) -> str:
    """The configuration of a cluster whose only pool is this one."""
    parts = f", {PARTS[name]}" if name in PARTS else ""
    return f"pools: [{{name: {name}, model: {MODEL}, engine: {{{SETTINGS}{parts}}}}}]"


def prompts(count: int, seed: int) -> list[str]:
    random = Random(seed)
    return [f"{random.choice(START)} the {random.choice(TOPICS)} and the {random.choice(TOPICS)}" for _ in range(count)]


async def answers(cluster: RunningCluster, pool: str, asked: list[str]) -> list[Answer]:
    async with AsyncOpenAI(base_url=cluster.rest, api_key=cluster.key, timeout=600, max_retries=0) as client:
        return list(await asyncio.gather(*(_answer(client, pool, prompt) for prompt in asked)))


async def _answer(client: AsyncOpenAI, pool: str, prompt: str) -> Answer:
    extra: dict[str, Any] = {"ignore_eos": True}
    completion = await client.completions.create(
        model=pool, prompt=prompt, max_tokens=TOKENS, temperature=0, logprobs=2, extra_body=extra
    )
    chosen = completion.choices[0].logprobs
    assert chosen is not None
    assert chosen.tokens is not None
    assert chosen.top_logprobs is not None
    return Answer(chosen.tokens, [_margin(each) for each in chosen.top_logprobs])


def _margin(choices: dict[str, float]) -> float:
    first, second = sorted(choices.values(), reverse=True)[:2]
    return first - second


async def lose_a_part(cluster: RunningCluster) -> None:
    """Kills a process of the only worker. Returns when a new worker takes requests; nothing of the old one is left."""
    old = _worker(cluster).pid
    family = psutil.Process(old).children(recursive=True)
    parts = [process for process in family if process.name().startswith(PART)]
    assert len(parts) > 1, [process.name() for process in family]
    parts[-1].kill()

    def replaced() -> bool:
        worker = _worker(cluster)
        return worker.pid not in (None, old) and worker.state == "running"

    await wait_until(replaced, description="a new worker takes requests", timeout=UP_S, every=0.2)
    assert all(map(is_gone, family))


def _worker(cluster: RunningCluster) -> ProcessRecord:
    (worker,) = (process for process in cluster.record.processes if process.name.startswith("worker"))
    return worker


def difference(whole: Answer, parts: Answer) -> str | None:
    """Returns where an answer of parts differs from that of the whole model; None if it does not, or at a near tie."""
    if whole.tokens == parts.tokens:
        return None
    place = next(i for i, (one, other) in enumerate(zip(whole.tokens, parts.tokens, strict=True)) if one != other)
    if whole.margins[place] < NEAR_TIE:
        return None
    return (
        f"token {place} is {parts.tokens[place]!r} and not {whole.tokens[place]!r},"
        f" which is ahead by {whole.margins[place]:.3f}"
    )
