"""Types of fields that several requests share, with bounds that protect the engine."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MAX_CHOICES = 16
MAX_STOPS = 4
MAX_LOGIT_BIAS = 300
MAX_TOKEN_ID = 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


class Request(BaseModel):
    """Base of everything that clients send. It coerces no types, and it refuses unknown fields and NaN."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, allow_inf_nan=False)


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _token_ids(bias: dict[str, float]) -> dict[str, float]:
    for key in bias:
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= MAX_TOKEN_ID):
            raise ValueError(f"keys must be token ids, got {key[:32]!r}")
    return bias


def _not_stored(store: bool) -> bool:
    if store:
        raise ValueError("answers are not stored here; only false is accepted")
    return store


Text = Annotated[str, AfterValidator(_printable)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
StopString = Annotated[Text, Field(min_length=1, max_length=256)]
Stop = Annotated[list[StopString], BeforeValidator(_as_list), Field(max_length=MAX_STOPS)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
Bias = Annotated[float, Field(ge=-100, le=100)]
LogitBias = Annotated[dict[str, Bias], Field(max_length=MAX_LOGIT_BIAS), AfterValidator(_token_ids)]
Seed = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Identifier = Annotated[str, Field(max_length=512)]
"""Names one of the caller's own users. It is accepted, and neither stored nor passed on."""
NotStored = Annotated[bool, AfterValidator(_not_stored)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)]
