"""The base of the models of tidegate.yaml."""

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Immutable, and unknown keys are refused."""

    # Sections are built once, within the whole file: to build each at import was a tenth of a process's start.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)
