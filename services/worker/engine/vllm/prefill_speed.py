"""How fast vLLM computes prompts on this machine: measured once, before the first request, when it is warm."""

from contextlib import aclosing
from dataclasses import replace

from services.shared.clock import Clock
from services.worker.engine.contract import Engine, EngineRequest, Sampling, TokenPrompt

# Long enough that a step's own cost does not count for much, short enough for a slow machine.
TOKENS = 512
ROUNDS = 2
_SAMPLING = Sampling(max_tokens=1, temperature=0.0, ignore_eos=True)


async def prefill_tokens_per_s(engine: Engine, clock: Clock) -> int:
    """Of a prompt of TOKENS, or of half the context. Raises EngineError.

    The first round warms whatever has to be: log probabilities are code that torch may have to compile first.
    """
    size = min(TOKENS, engine.info.context_tokens // 2)
    seconds = 0.0
    for number in range(ROUNDS):
        # Nothing that the round before has left in the cache.
        tokens = tuple((number + position) % engine.info.vocab_size for position in range(size))
        sampling = replace(_SAMPLING, top_logprobs=None if number else 1)
        seconds = await _first_token_s(engine, EngineRequest(f"pace-{number}", TokenPrompt(tokens), sampling), clock)
    return max(1, round(size / seconds)) if seconds else 0


async def _first_token_s(engine: Engine, request: EngineRequest, clock: Clock) -> float:
    began = clock.monotonic()
    async with aclosing(engine.generate(request)) as events:
        async for _ in events:
            pass
    return clock.monotonic() - began
