"""Our sampling as vLLM's."""

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from services.worker.engine.contract import Sampling, Structure

_FIELD_OF = {"json_schema": "json", "regex": "regex", "grammar": "grammar"}


def structured_outputs(structure: Structure | None) -> StructuredOutputsParams | None:
    """Returns vLLM's form of the structure that a request asks for, or None without one."""
    if structure is None:
        return None
    if structure.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    return StructuredOutputsParams(**{_FIELD_OF[structure.kind]: structure.text})


def sampling_params(
    sampling: Sampling, choice: int, limit: int, done: int, structured: StructuredOutputsParams | None
) -> SamplingParams:
    """Of one choice, for the engine, which generates tokens alone: text and stop strings are text_params' matter.

    limit: tokens of the whole choice; done: those that an earlier attempt delivered, which are prompt to the engine.
    """
    return SamplingParams.from_optional(
        n=1,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        # Choices of one request must differ, and each must be the same again when asked again.
        seed=None if sampling.seed is None else sampling.seed + choice,
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        max_tokens=limit - done,
        min_tokens=max(0, sampling.min_tokens - done),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        # Knows which tokens there were, in prompt or answer alike.
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        logprobs=sampling.top_logprobs,
        structured_outputs=structured,
        detokenize=False,
        output_kind=RequestOutputKind.DELTA,
    )


def text_params(sampling: Sampling, skip_special_tokens: bool) -> SamplingParams:
    """What vLLM's detokenizer reads, for a whole choice."""
    return SamplingParams.from_optional(
        stop=list(sampling.stop),
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        max_tokens=None,
        min_tokens=sampling.min_tokens,
        skip_special_tokens=skip_special_tokens,
    )
