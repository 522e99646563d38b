"""Our sampling as vLLM's."""

from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from services.worker.engine.contract import Sampling, Structure

_FIELD_OF = {"json_schema": "json", "regex": "regex", "grammar": "grammar"}


def structured_outputs(structure: Structure | None) -> StructuredOutputsParams | None:
    if structure is None:
        return None
    if structure.kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    return StructuredOutputsParams(**{_FIELD_OF[structure.kind]: structure.text})


def sampling_params(
    sampling: Sampling,
    choice: int,
    limit: int,
    done: int,
    structured: StructuredOutputsParams | None,
    skip_special_tokens: bool,
) -> SamplingParams:
    """Of one choice. limit: tokens of its whole answer; done: those that an earlier attempt delivered.

    Penalties count the resumed tokens as prompt, which differs from an unbroken run: exactness there is still to come.
    """
    return SamplingParams.from_optional(
        n=1,
        temperature=sampling.temperature,
        top_p=sampling.top_p,
        top_k=sampling.top_k,
        min_p=sampling.min_p,
        # Choices of one request must differ, and each must be the same again when asked again.
        seed=None if sampling.seed is None else sampling.seed + choice,
        stop=list(sampling.stop),
        stop_token_ids=list(sampling.stop_token_ids),
        ignore_eos=sampling.ignore_eos,
        max_tokens=limit - done,
        min_tokens=max(0, sampling.min_tokens - done),
        presence_penalty=sampling.presence_penalty,
        frequency_penalty=sampling.frequency_penalty,
        repetition_penalty=sampling.repetition_penalty,
        logit_bias=dict(sampling.logit_bias) or None,
        logprobs=sampling.top_logprobs,
        structured_outputs=structured,
        skip_special_tokens=skip_special_tokens,
        output_kind=RequestOutputKind.DELTA,
    )
