"""The sampling fields that chat completions and completions share, and their form in messages to workers."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from services.gateway.domain.generation import PLAIN, Shown
from services.gateway.openai.fields import (
    MAX_CHOICES,
    AllowedTokenIds,
    BadWords,
    Hint,
    Label,
    LogitBias,
    ModelName,
    Penalty,
    PromptLogprobs,
    Request,
    Seed,
    ServiceTier,
    Stop,
    TokenId,
    Tokens,
    Truncation,
)
from services.gateway.openai.structured_output import StructuredOutputs, set_structured_output
from tidegate.worker.v1 import worker_pb2


class StreamOptions(Request):
    """Options of a streamed response."""

    include_usage: bool | None = None
    include_obfuscation: Hint[Literal[False]] = None
    continuous_usage_stats: bool | None = None


class SamplingFields(Request):
    """How tokens are chosen: the same fields for all endpoints that generate."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: Seed | None = None
    stop: Stop | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: LogitBias | None = None
    # OpenAI does not have these. Their names are those that vLLM's clients use.
    # Both -1 and 0 mean all tokens.
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=2)] | None = None
    min_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    ignore_eos: bool | None = None
    stop_token_ids: Annotated[list[TokenId], Field(max_length=64)] | None = None
    structured_outputs: StructuredOutputs | None = None
    include_stop_str_in_output: bool | None = None
    skip_special_tokens: bool | None = None
    bad_words: BadWords | None = None
    allowed_token_ids: AllowedTokenIds | None = None


class SamplingRequest(SamplingFields):
    """Fields that chat completions and completions share."""

    model: ModelName
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Tokens | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    service_tier: ServiceTier | None = None
    user: Label = None
    safety_identifier: Label = None
    prompt_cache_key: Label = None
    metadata: Label = None
    # Of vLLM's API.
    return_token_ids: bool | None = None
    prompt_logprobs: PromptLogprobs | None = None
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] | None = None
    add_special_tokens: bool | None = None

    @property
    def token_limit(self) -> int | None:
        """Most tokens that a choice may have; None: as many as fit."""
        return self.max_tokens

    @property
    def limit_is_default(self) -> bool:
        """Whether the limit is one that the client did not ask for."""
        return False

    @property
    def choices(self) -> int:
        """How many choices the client asks for."""
        return self.n or 1

    @property
    def include_usage(self) -> bool:
        """Whether a stream ends with token counts."""
        return bool(self.stream_options and self.stream_options.include_usage)

    @property
    def continuous_usage(self) -> bool:
        """Whether every event of a stream has the token counts so far."""
        return self.include_usage and bool(self.stream_options and self.stream_options.continuous_usage_stats)

    def shown(self) -> Shown:
        """Returns what the answer shows beside its text."""
        if not (self.return_token_ids or self.continuous_usage or self.prompt_logprobs is not None):
            return PLAIN
        return Shown(
            token_ids=bool(self.return_token_ids),
            prompt_logprobs=self.prompt_logprobs is not None,
            continuous_usage=self.continuous_usage,
        )

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.stream_options and not self.stream:
            raise ValueError("stream_options: is only allowed when stream is true")
        if self.prompt_logprobs is not None and self.stream:
            raise ValueError("prompt_logprobs: are not available in a stream")
        if self.min_tokens and self.token_limit is not None and self.min_tokens > self.token_limit:
            raise ValueError("min_tokens: must not be greater than max_tokens")
        return self

    def sampling(self) -> worker_pb2.Sampling:
        """Returns how the engine is to sample. An absent field stays absent, so that the model's own defaults hold."""
        sampling = worker_pb2.Sampling(
            max_tokens=self.token_limit,
            # A limit is a bound: what the context leaves below it is enough.
            max_tokens_may_shrink=self.token_limit is not None,
            min_tokens=self.min_tokens or 0,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=None if self.top_k is None else max(0, self.top_k),
            min_p=self.min_p,
            seed=self.seed,
            n=self.choices,
            stop=self.stop or (),
            stop_token_ids=self.stop_token_ids or (),
            ignore_eos=bool(self.ignore_eos),
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            repetition_penalty=self.repetition_penalty,
            include_stop=bool(self.include_stop_str_in_output),
            keep_special_tokens=self.skip_special_tokens is False,
            bad_words=self.bad_words or (),
            allowed_token_ids=self.allowed_token_ids or (),
            logit_bias={int(token): bias for token, bias in (self.logit_bias or {}).items()},
        )
        if self.return_token_ids:
            sampling.return_prompt_token_ids = True
        if self.prompt_logprobs is not None:
            sampling.prompt_logprobs = self.prompt_logprobs
        if self.truncate_prompt_tokens:
            sampling.truncate_prompt_tokens = self.truncate_prompt_tokens
            sampling.keep_prompt_start = self.truncation_side == "right"
        if self.add_special_tokens is not None:
            sampling.add_special_tokens = self.add_special_tokens
        if self.structured_outputs:
            set_structured_output(sampling, self.structured_outputs)
        return sampling
