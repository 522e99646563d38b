"""Body of POST /inference/v1/generate, vLLM's form for callers that tokenize themselves: tokens in, tokens out."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from services.gateway.openai import validation
from services.gateway.openai.completion_request import CompletionRequest, TokenPrompt
from services.gateway.openai.fields import MAX_CHOICES, Label, ModelName, PromptLogprobs, Request, ServiceTier, Tokens
from services.gateway.openai.sampling import SamplingFields, StreamOptions


class TokenSampling(SamplingFields):
    """vLLM's sampling parameters. The token limit is what the context leaves, unless it is set."""

    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_tokens: Tokens | None = None
    logprobs: PromptLogprobs | None = None
    prompt_logprobs: PromptLogprobs | None = None
    # The server's own choice.
    detokenize: Label = None
    output_kind: Label = None


class TokenCompletion(CompletionRequest):
    """A completion whose answer has what the context leaves, unless its limit is set."""

    default_tokens: ClassVar[int | None] = None


class GenerateRequest(Request):
    """Body of POST /inference/v1/generate."""

    model: ModelName | None = None
    token_ids: TokenPrompt
    sampling_params: TokenSampling
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    return_token_ids: bool | None = None
    output_mode: Literal["tokens", "text"] | None = None
    service_tier: ServiceTier | None = None
    # Tidegate names requests, separates tenants and orders the queue by itself.
    request_id: Label = None
    cache_salt: Label = None
    priority: Label = None

    @property
    def shows_text(self) -> bool:
        """Whether the answer has text beside its tokens."""
        return self.output_mode == "text"

    def completion(self, model: str) -> TokenCompletion:
        """Returns the same request as a completion, which is validated as well.

        Args:
            model: its name, which the request may leave out.

        Raises:
            InvalidRequest: fields contradict each other.
        """
        sampling: dict[str, Any] = self.sampling_params.model_dump(by_alias=True, exclude_none=True)
        document = {
            "model": model,
            "prompt": self.token_ids,
            "stream": self.stream,
            "stream_options": self.stream_options.model_dump() if self.stream_options else None,
            "return_token_ids": self.return_token_ids,
            "service_tier": self.service_tier,
        }
        return validation.check(TokenCompletion, {**document, **sampling})
