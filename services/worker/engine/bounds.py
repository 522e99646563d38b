"""Bounds that every engine checks before it takes a request: those of the vocabulary and of the context."""

from collections.abc import Iterable

from services.worker.engine.contract import ContextTooLong, InvalidPrompt, Sampling

MAX_PROMPT_LOGPROBS = 65_536
"""Most entries of all positions together; each takes about 25 bytes in the message that starts an answer."""


def check_token_ids(ids: Iterable[int], vocab_size: int, param: str) -> None:
    """Refuses token ids that the model does not have.

    Args:
        ids: token ids.
        vocab_size: number of token ids that the model has.
        param: the OpenAI parameter that they come from.

    Raises:
        InvalidPrompt: one of them is outside the vocabulary.
    """
    if wrong := [token for token in ids if not 0 <= token < vocab_size]:
        raise InvalidPrompt(f"token id {wrong[0]} is not in the vocabulary of {vocab_size}", param)


def kept_prompt_tokens(sampling: Sampling, context_tokens: int) -> int | None:
    """Returns how many tokens of a longer prompt are kept, or None if all of them are.

    Raises:
        InvalidPrompt: so many tokens do not fit the context.
    """
    kept = sampling.truncate_prompt_tokens
    if not kept:
        return None
    if kept > context_tokens:
        message = f"truncate_prompt_tokens must be at most {context_tokens}, the model's context"
        raise InvalidPrompt(message, "truncate_prompt_tokens")
    if kept > 0:
        return kept
    return max(1, context_tokens - (1 if sampling.max_tokens is None else sampling.max_tokens))


def truncated(token_ids: tuple[int, ...], sampling: Sampling, context_tokens: int) -> tuple[int, ...]:
    """Returns the tokens of a prompt that are kept. Raises InvalidPrompt."""
    kept = kept_prompt_tokens(sampling, context_tokens)
    if kept is None or len(token_ids) <= kept:
        return token_ids
    return token_ids[:kept] if sampling.keep_prompt_start else token_ids[-kept:]


def token_limit(sampling: Sampling, prompt_tokens: int, context_tokens: int) -> int:
    """Returns the most tokens that a choice may have.

    Raises:
        InvalidPrompt: the prompt is empty, or `min_tokens` is above this limit.
        ContextTooLong: prompt and answer do not fit the context.
    """
    if not prompt_tokens:
        raise InvalidPrompt("the prompt is empty", "prompt")
    room, asked = context_tokens - prompt_tokens, sampling.max_tokens
    # With max_tokens 0, the prompt may fill the context.
    least = 1 if asked is None else asked
    if room < (min(1, least) if sampling.max_tokens_may_shrink else least):
        answer = f" and {asked} of answer" if asked and not sampling.max_tokens_may_shrink else ""
        raise context_too_long(context_tokens, f"{prompt_tokens} tokens of prompt{answer}")
    limit = room if asked is None else min(asked, room)
    check_prompt_logprobs(sampling, prompt_tokens)
    if sampling.min_tokens > limit:
        raise InvalidPrompt(f"min_tokens must be at most {limit}, the tokens that there may be", "min_tokens")
    return limit


def check_prompt_logprobs(sampling: Sampling, prompt_tokens: int) -> None:
    """Refuses a request whose prompt has more log probabilities than one message may carry.

    Raises:
        InvalidPrompt: it is one.
    """
    if sampling.prompt_logprobs is None:
        return
    longest = MAX_PROMPT_LOGPROBS // (sampling.prompt_logprobs + 1)
    if prompt_tokens > longest:
        message = f"a prompt with log probabilities may have {longest} tokens; this one has {prompt_tokens}"
        raise InvalidPrompt(message, "prompt")


def context_too_long(context_tokens: int, asked: str) -> ContextTooLong:
    """Returns the error of a request that does not fit. Clients look for its words "maximum context length".

    Args:
        context_tokens: of the model.
        asked: what the request asks for.
    """
    message = f"This model's maximum context length is {context_tokens} tokens; the request has {asked}."
    return ContextTooLong(message, "prompt")
