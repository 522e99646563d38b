"""Body of POST /v1/completions."""

from dataclasses import replace
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, model_validator

from services.gateway.domain.generation import Shown
from services.gateway.openai.fields import Text, TokenId
from services.gateway.openai.sampling import SamplingRequest
from tidegate.worker.v1 import worker_pb2

MAX_PROMPT_TOKENS = 1_000_000
TokenPrompt = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_TOKENS)]


def _single(prompt: Any) -> Any:
    """Several prompts would be several requests, each with its own position in the queue."""
    if not (isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list)):
        return prompt
    if len(prompt) > 1:
        raise ValueError("a request has exactly one prompt; send one request for each")
    return prompt[0]


class CompletionRequest(SamplingRequest):
    """Body of POST /v1/completions."""

    prompt: Annotated[Annotated[Text, Field(min_length=1)] | TokenPrompt, BeforeValidator(_single)]
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[int, Field(ge=1)] | None = None
    # None at all, for the sake of the prompt's own log probabilities.
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None

    @model_validator(mode="after")
    def _best_of_is_n(self) -> Self:
        if self.best_of is not None and self.best_of != self.choices:
            raise ValueError("best_of: must equal n; choosing among more candidates is not supported")
        return self

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise ValueError("max_tokens: must be at least 1 without echo")
        return self

    def shown(self) -> Shown:
        """Returns what the answer shows beside its text."""
        shown = super().shown()
        return replace(shown, echo_logprobs=True) if self.echo and self.logprobs is not None else shown

    def sampling(self) -> worker_pb2.Sampling:
        """Returns how the engine is to sample; a field that is absent stays absent."""
        sampling = super().sampling()
        sampling.echo = bool(self.echo)
        if self.logprobs is not None:
            sampling.top_logprobs = self.logprobs
            if self.echo and self.prompt_logprobs is None:
                sampling.prompt_logprobs = self.logprobs
        return sampling

    def worker_prompt(self) -> str | worker_pb2.TokenIds:
        """Returns the prompt as workers take it: text, or token ids."""
        return self.prompt if isinstance(self.prompt, str) else worker_pb2.TokenIds(ids=self.prompt)
