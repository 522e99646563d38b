"""Body of POST /v1/embeddings."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from services.gateway.openai.fields import Label, ModelName, Request, ServiceTier, Text, TokenId, Truncation
from tidegate.worker.v1 import worker_pb2

MAX_INPUTS = 2048

TextInput = Annotated[Text, Field(min_length=1)]
TokenInput = Annotated[list[TokenId], Field(min_length=1, max_length=1_000_000)]


def _as_inputs(value: Any) -> Any:
    """One input is a list of one."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a string or an array")
    return [value] if value and isinstance(value[0], int) else value


class EmbeddingsRequest(Request):
    """Body of POST /v1/embeddings."""

    model: ModelName
    input: Annotated[
        list[TextInput | TokenInput], Field(min_length=1, max_length=MAX_INPUTS), BeforeValidator(_as_inputs)
    ]
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=65_536)] | None = None
    service_tier: ServiceTier | None = None
    user: Label = None
    # Of vLLM's API.
    truncate_prompt_tokens: Truncation | None = None
    truncation_side: Literal["left", "right"] | None = None
    add_special_tokens: bool | None = None

    @property
    def base64(self) -> bool:
        """Whether vectors are shown as base64 of their bytes."""
        return self.encoding_format == "base64"

    def worker_inputs(self) -> worker_pb2.Inputs:
        """Returns the inputs as workers take them."""
        return worker_pb2.Inputs(inputs=map(_input, self.input), dimensions=self.dimensions or 0)

    def sampling(self) -> worker_pb2.Sampling:
        """Returns what is said of the prompts; each is a choice of no tokens, and nothing is drawn at random."""
        sampling = worker_pb2.Sampling(n=len(self.input), max_tokens=0, temperature=0.0)
        if self.truncate_prompt_tokens:
            sampling.truncate_prompt_tokens = self.truncate_prompt_tokens
            sampling.keep_prompt_start = self.truncation_side == "right"
        if self.add_special_tokens is not None:
            sampling.add_special_tokens = self.add_special_tokens
        return sampling


def _input(given: str | list[int]) -> worker_pb2.Input:
    if isinstance(given, str):
        return worker_pb2.Input(text=given)
    return worker_pb2.Input(token_ids=worker_pb2.TokenIds(ids=given))
