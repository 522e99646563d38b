"""The base of the models of tidegate.yaml."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
