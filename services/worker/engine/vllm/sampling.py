"""Turns the contract's Sampling into vLLM's SamplingParams."""

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from services.worker.engine.contract import Sampling, Structure

_FIELD_OF = {"json_schema": "json", "regex": "regex", "grammar": "grammar", "structural_tag": "structural_tag"}


def structured_outputs(structure: Structure | None) -> StructuredOutputsParams | None:
    """Returns vLLM's parameters for the structured output that a request asks for, or None if it asks for none."""
    if structure is None:
        return None
    if structure.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    return StructuredOutputsParams(**{_FIELD_OF[structure.kind]: structure.text})


def only(token: int, sampling: Sampling) -> Sampling:
    """Returns the sampling that can choose one token only, and that tells its log probability as that of a prompt."""
    return Sampling(
        allowed_token_ids=(token,), top_logprobs=sampling.prompt_logprobs, prompt_logprobs=sampling.prompt_logprobs
    )


def sampling_params(
    sampling: Sampling, choice: int, limit: int, done: int, structured: StructuredOutputsParams | None
) -> SamplingParams:
    """Returns the parameters of one choice for the engine, which generates tokens only; text is for `text_params`.

    Args:
        limit: the most tokens of the whole choice.
        done: tokens that an earlier attempt delivered; the engine reads them as a part of its prompt.
    """
    return SamplingParams.from_optional(
        n=1,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        # Choices of one request must differ, and each must be the same when the request is repeated.
        seed=None if sampling.seed is None else sampling.seed + choice,
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        # vLLM generates a token at least; the choice leaves it out.
        max_tokens=max(1, limit - done),
        min_tokens=max(0, sampling.min_tokens - done),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        # It depends on the tokens of prompt and answer alike, so a resumed choice needs nothing more.
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        bad_words=list(sampling.bad_words) or None,
        allowed_token_ids=list(sampling.allowed_token_ids) or None,
        logprobs=sampling.top_logprobs,
        # A resumed choice reads its own tokens as a part of the prompt, and its client knows the prompt's already.
        prompt_logprobs=None if done else sampling.prompt_logprobs,
        structured_outputs=structured,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def text_params(sampling: Sampling, skip_special_tokens: bool) -> SamplingParams:
    """Returns the parameters of one choice for vLLM's detokenizer: stop strings, end tokens and special tokens."""
    return SamplingParams.from_optional(
        stop=list(sampling.stop),
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        max_tokens=None,
        min_tokens=sampling.min_tokens,
        skip_special_tokens=skip_special_tokens,
        include_stop_str_in_output=sampling.include_stop,
    )
