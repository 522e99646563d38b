"""How fast vLLM computes prompts on this machine: measured once, before the first request."""

from contextlib import aclosing

from services.shared.clock import Clock
from services.worker.engine.contract import Engine, EngineRequest, Sampling, TokenPrompt

# Long enough that a step's own cost does not count for much, short enough for a slow machine.
TOKENS = 512
ROUNDS = 2


async def prefill_tokens_per_s(engine: Engine, clock: Clock) -> int:
    """Of a prompt of TOKENS, or of half the context; the first round warms whatever has to be. Raises EngineError."""
    size = min(TOKENS, engine.info.context_tokens // 2)
    seconds = 0.0
    for number in range(ROUNDS):
        # Nothing that the round before has left in the cache.
        tokens = tuple((number + position) % engine.info.vocab_size for position in range(size))
        seconds = await _first_token_s(engine, f"pace-{number}", tokens, clock)
    return max(1, round(size / seconds)) if seconds else 0


async def _first_token_s(engine: Engine, name: str, tokens: tuple[int, ...], clock: Clock) -> float:
    began = clock.monotonic()
    request = EngineRequest(name, TokenPrompt(tokens), Sampling(max_tokens=1, temperature=0.0, ignore_eos=True))
    async with aclosing(engine.generate(request)) as events:
        async for _ in events:
            pass
    return clock.monotonic() - began
