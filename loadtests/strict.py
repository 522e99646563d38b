"""Base of all documents that are read."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """An immutable document. Unknown keys, NaN and infinities are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
