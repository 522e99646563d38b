"""Measures how fast vLLM computes prompts on this machine: once, after the warm-up, before the first request."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace

from services.shared.clock import Clock
from services.worker.engine.contract import EmbedRequest, Engine, EngineRequest, Event, Sampling, TokenPrompt

# Long enough that the fixed cost of a step counts little, short enough for a slow machine.
TOKENS = 512
ROUNDS = 2
_SAMPLING = Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)


async def prefill_tokens_per_s(engine: Engine, clock: Clock) -> int:
    """Measures the prompt tokens per second with a prompt of TOKENS tokens.

    If half of the context is shorter, the prompt has that length.
    The first round is a warm-up: torch may have to compile the code for log probabilities.

    Returns:
        At least 1; 0 if the clock showed no time.

    Raises:
        EngineError: the engine failed.
    """
    size = min(TOKENS, engine.info.context_tokens // 2)
    seconds = 0.0
    for number in range(ROUNDS):
        # Each round has other tokens, so the prefix cache cannot help.
        tokens = tuple((number + position) % engine.info.vocab_size for position in range(size))
        seconds = await _seconds(_asked(engine, number, TokenPrompt(tokens)), clock)
    return max(1, round(size / seconds)) if seconds else 0


def _asked(engine: Engine, number: int, prompt: TokenPrompt) -> AsyncGenerator[Event, None]:
    name = f"prefill-speed-{number}"
    if engine.info.dimensions:
        return engine.embed(EmbedRequest(name, (prompt,)))
    sampling = replace(_SAMPLING, top_logprobs=None if number else 1)
    return engine.generate(EngineRequest(name, prompt, sampling))


async def _seconds(asked: AsyncGenerator[Event, None], clock: Clock) -> float:
    began = clock.monotonic()
    async with aclosing(asked) as events:
        async for _ in events:
            pass
    return clock.monotonic() - began
