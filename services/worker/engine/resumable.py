"""Decides before the first token whether another worker could continue the answer exactly.

State that depends only on prompt and tokens is rebuilt from them: text, stop strings, parsers, limits, and the tokens
that a repetition penalty counts. Clients are told the result: docs/adr/0007-resuming-streams.md.
"""

from services.worker.engine.contract import Sampling


def obstacle(sampling: Sampling, *, structured: bool) -> str | None:
    """Returns the state that another engine could not rebuild, in words, or None.

    Args:
        sampling: Sampling of the request.
        structured: A grammar guides the answer: the client's own, or that of a forced tool call.
    """
    if structured:
        return "the place that the answer has reached in its grammar"
    if sampling.presence_penalty or sampling.frequency_penalty:
        return "how often each token was generated"
    if sampling.bad_words:
        return "the words that a bad word began with"
    if sampling.seed is not None and sampling.temperature > 0:
        return "how many numbers were drawn from the seed"
    return None
