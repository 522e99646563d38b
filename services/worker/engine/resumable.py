"""Which answers another worker can go on with exactly; decided before their first token.

State that is a function of prompt and tokens alone is rebuilt from them: text, stop strings, parsers, limits, the
tokens that a repetition penalty knows. What is said here is said to clients: docs/adr/0007-resuming-streams.md.
"""

from services.worker.engine.contract import Sampling


def obstacle(sampling: Sampling, *, structured: bool) -> str | None:
    """What an engine without a way back into it would have to know, or None. structured: a grammar guides the answer,
    be it the client's or that of a forced tool call."""
    if structured:
        return "the place that the answer has reached in its grammar"
    if sampling.presence_penalty or sampling.frequency_penalty:
        return "how often each token was generated"
    if sampling.seed is not None and sampling.temperature > 0:
        return "how many numbers were drawn from the seed"
    return None
