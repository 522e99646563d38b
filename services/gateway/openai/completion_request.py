"""Body of POST /v1/completions."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

from pydantic import Discriminator, Field, Tag, model_validator

from services.gateway.domain.generation import Shown
from services.gateway.openai.fields import MAX_CHOICES, Text, TokenId
from services.gateway.openai.sampling import SamplingRequest
from services.gateway.openai.structured_output import ResponseFormat, set_response_format
from tidegate.worker.v1 import worker_pb2

DEFAULT_TOKENS = 16
"""Most tokens of an answer without `max_tokens`, as with OpenAI and vLLM."""
MAX_PROMPT_TOKENS = 1_000_000
MAX_ANSWERS = 128
"""Most answers to all prompts of one request together."""
TextPrompt = Annotated[Text, Field(min_length=1)]
TokenPrompt = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_PROMPT_TOKENS)]


def _form(prompt: Any) -> str:
    """Names the form of a prompt by its first item, so that a long list is read once. No field has such a name."""
    if not isinstance(prompt, list):
        return "(text)"
    first = prompt[0] if prompt else None
    return "(texts)" if isinstance(first, str) else "(lists)" if isinstance(first, list) else "(tokens)"


Prompts = Annotated[
    Annotated[TextPrompt, Tag("(text)")]
    | Annotated[TokenPrompt, Tag("(tokens)")]
    | Annotated[list[TextPrompt], Field(max_length=MAX_ANSWERS), Tag("(texts)")]
    | Annotated[list[TokenPrompt], Field(max_length=MAX_ANSWERS), Tag("(lists)")],
    Discriminator(_form),
]


class CompletionRequest(SamplingRequest):
    """Body of POST /v1/completions."""

    default_tokens: ClassVar[int | None] = DEFAULT_TOKENS
    """Most tokens of an answer without `max_tokens`; None: what the context leaves."""
    prompt: Prompts
    suffix: Text | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    best_of: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    # None at all, for the sake of the prompt's own log probabilities.
    max_tokens: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    response_format: ResponseFormat | None = None

    @property
    def token_limit(self) -> int | None:
        """Most tokens that an answer may have; None: as many as fit."""
        if self.max_tokens is not None or self.default_tokens is None:
            return self.max_tokens
        # Only a default is in the way of `min_tokens`, so it gives way.
        return max(self.default_tokens, self.min_tokens or 0)

    @property
    def limit_is_default(self) -> bool:
        """Whether the limit is one that the client did not ask for."""
        return self.max_tokens is None

    @property
    def choices(self) -> int:
        """How many answers to each prompt are generated: more than are shown, if the best of them are."""
        return max(self.n or 1, self.best_of or 1)

    @property
    def shows_best(self) -> bool:
        """Whether only the best answers to each prompt are shown."""
        return self.choices > (self.n or 1)

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """The prompts, one at least."""
        match _form(self.prompt):
            case "(text)" | "(tokens)":
                return [self.prompt]  # type: ignore[return-value]
        return self.prompt  # type: ignore[return-value]

    @model_validator(mode="after")
    def _number_of_answers(self) -> Self:
        if self.best_of is not None and self.best_of < (self.n or 1):
            raise ValueError("best_of: must not be less than n")
        if self.shows_best and self.stream:
            raise ValueError("best_of: must equal n in a stream, for the best answers are known at the end only")
        if (answers := len(self.prompts) * self.choices) > MAX_ANSWERS:
            message = f"a request may ask for at most {MAX_ANSWERS} answers to all its prompts, not for {answers}"
            raise ValueError(f"prompt: {message}")
        return self

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.max_tokens == 0 and not self.echo and self.prompt_logprobs is None:
            raise ValueError("max_tokens: must be at least 1 without echo")
        if self.response_format and self.structured_outputs:
            raise ValueError("structured_outputs: cannot be given together with response_format")
        return self

    @model_validator(mode="after")
    def _has_a_middle(self) -> Self:
        if not self.suffix:
            return self
        if self.echo:
            raise ValueError("suffix: cannot be given together with echo")
        if self.truncate_prompt_tokens:
            raise ValueError("suffix: cannot be given together with truncate_prompt_tokens")
        if _form(self.prompt) not in ("(text)", "(texts)"):
            raise ValueError("suffix: needs a prompt that is a text")
        return self

    def shown(self) -> Shown:
        """Returns what the answer shows beside its text."""
        shown = super().shown()
        if self.echo and self.logprobs is not None:
            shown = replace(shown, echo_logprobs=True)
        if self.shows_best:
            shown = replace(shown, best=self.n or 1, hides_logprobs=self.logprobs is None)
        return shown

    def sampling(self) -> worker_pb2.Sampling:
        """Returns how the engine is to sample; a field that is absent stays absent."""
        sampling = super().sampling()
        sampling.echo = bool(self.echo)
        if self.logprobs is not None:
            sampling.top_logprobs = self.logprobs
            if self.echo and self.prompt_logprobs is None:
                sampling.prompt_logprobs = self.logprobs
        elif self.shows_best:
            sampling.top_logprobs = 0
        if self.suffix:
            sampling.suffix = self.suffix
        if self.response_format:
            set_response_format(sampling, self.response_format)
        return sampling

    def worker_prompts(self) -> list[str | worker_pb2.TokenIds]:
        """Returns the prompts as workers take them: texts, or token ids."""
        return [prompt if isinstance(prompt, str) else worker_pb2.TokenIds(ids=prompt) for prompt in self.prompts]
