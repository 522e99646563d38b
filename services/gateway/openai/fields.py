"""Types of fields that several requests share, with bounds that protect the engine."""

from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

MAX_CHOICES = 16
MAX_STOPS = 16
MAX_BAD_WORDS = 64
MAX_ALLOWED_TOKENS = 8192
MAX_LOGIT_BIAS = 300
MAX_TOKEN_ID = 2**31 - 1
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1


T = TypeVar("T")


def _without_bounds_on_names(schema: dict[str, Any]) -> None:
    """The OpenAPI document tells the truth about unknown fields: they are accepted."""
    schema.pop("additionalProperties", None)


class Request(BaseModel):
    """Base of everything that clients send. It coerces no types, and it refuses NaN.

    It forbids unknown fields, because that costs nothing where there are none. `validation.accept` tries again without
    them, and says what was left out.

    Attributes:
        attributes: the attribute of each field, by the field's name in JSON.
        labels: names of the fields of the type Label.
    """

    model_config = ConfigDict(
        strict=True,
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        json_schema_extra=_without_bounds_on_names,
    )
    attributes: ClassVar[dict[str, str]] = {}
    labels: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Notes the names that `validation` compares documents with."""
        cls.attributes = {field.alias or name: name for name, field in cls.model_fields.items()}
        cls.labels = frozenset(name for name, field in cls.model_fields.items() if _LEFT_OUT in field.metadata)


def _left_out(_: Any) -> None:
    return None


def _or_left_out(value: Any, handler: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
    try:
        return handler(value)
    except ValidationError:
        if info.context is not LENIENT:
            raise
        return None


LENIENT = "lenient"
"""The context of the second try: in it, a hint with a value that nobody knows counts as not set."""
_LEFT_OUT = AfterValidator(_left_out)
Label = Annotated[Any, _LEFT_OUT, Field(description="Accepted and left out.")]
"""A field that changes nothing here, whatever its value: a label of the client's own, or a hint."""
Hint = Annotated[T | None, WrapValidator(_or_left_out)]
"""A field that asks for something which can be left out: a value that is not known here counts as not set."""


def _without_nulls(value: Any) -> Any:
    return {key: inner for key, inner in value.items() if inner is not None} if isinstance(value, dict) else value


def _printable(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain the NUL character")
    return text


def _as_list(value: Any) -> Any:
    if not isinstance(value, str | list):
        raise ValueError("must be a string or an array")
    return [value] if isinstance(value, str) else value


def _token_ids(bias: dict[str, float]) -> dict[str, float]:
    for key in bias:
        if not (key.isascii() and key.isdigit() and len(key) <= 10 and int(key) <= MAX_TOKEN_ID):
            raise ValueError(f"keys must be token ids, got {key[:32]!r}")
    return bias


def _keeps_some(kept: int) -> int:
    if not kept:
        raise ValueError("must be -1, or at least 1: a prompt cannot be empty")
    return kept


def _known_effort(effort: Any) -> Any:
    return "high" if effort in ("xhigh", "max") else effort


def _function(kind: Any) -> Any:
    return "function" if kind is None else kind


ServiceTier = Literal["auto", "default", "flex", "priority"]
Text = Annotated[str, AfterValidator(_printable)]
ModelName = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
StopString = Annotated[Text, Field(min_length=1, max_length=256)]
Stop = Annotated[list[StopString], BeforeValidator(_as_list), Field(max_length=MAX_STOPS)]
BadWords = Annotated[list[StopString], Field(max_length=MAX_BAD_WORDS)]
TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
AllowedTokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_ALLOWED_TOKENS)]
Bias = Annotated[float, Field(ge=-100, le=100)]
LogitBias = Annotated[
    dict[str, Bias], Field(max_length=MAX_LOGIT_BIAS), AfterValidator(_token_ids), BeforeValidator(_without_nulls)
]
Seed = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
PromptLogprobs = Annotated[int, Field(ge=0, le=20)]
Truncation = Annotated[int, Field(ge=-1, le=2**31 - 1), AfterValidator(_keeps_some)]
"""How many tokens of a prompt are kept; -1: as many as leave room for the answer."""
Tokens = Annotated[int, Field(ge=1, le=2**31 - 1)]
MetadataKey = Annotated[str, Field(min_length=1, max_length=64)]
MetadataValue = Annotated[str, Field(max_length=512)]
Identifier = Annotated[str, Field(max_length=512)]
"""Names one of the caller's own users. It is accepted, and neither stored nor passed on."""
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16), BeforeValidator(_without_nulls)]
Speaker = Annotated[Text, Field(min_length=1, max_length=256)]
"""Tells apart speakers of one role. Only some chat templates read it."""
FunctionType = Annotated[Literal["function"], BeforeValidator(_function)]
"""The only type of tool; a client may leave it out."""
Effort = Annotated[Literal["none", "minimal", "low", "medium", "high"], BeforeValidator(_known_effort)]
"""How long a model reasons, in the words that chat templates know; what is beyond `high` counts as `high`."""
