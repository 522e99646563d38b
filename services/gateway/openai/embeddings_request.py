"""Body of POST /v1/embeddings. Every model here generates text, so a valid request names a model that cannot embed."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from services.gateway.openai.fields import Label, ModelName, Request, Text, TokenId
from services.shared.errors import InvalidRequest

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
    user: Label = None


def does_not_embed(model: str) -> InvalidRequest:
    """Returns the error that answers a valid request. model: the name that the client sent."""
    return InvalidRequest(
        f"The model '{model}' does not embed: it generates text.", param="model", code="model_does_not_embed"
    )
