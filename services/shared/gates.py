"""The gates of a pool in tidegate.yaml: how much worse a new version may be while a rollout runs (docs/models.md)."""

from pydantic import Field

from services.shared.strict_model import Strict


class Gates(Strict):
    """What a rollout watches: the new version beside the old one, in the same minutes, by class.

    A figure that is worse by more than its bound, beyond chance, ends the rollout, and workers that had changed go
    back. `null` switches a bound off.
    """

    errors: float | None = Field(
        0.002,
        ge=0,
        le=1,
        description="Part of all requests by which failures of the new version may be more; 0.002 is 0.2 %.",
    )
    ttft: float | None = Field(
        0.2,
        ge=0,
        le=10,
        description="Part by which the time from grant to first token may be longer; 0.2 is 20 %. Times up to 20 ms"
        " count as equal.",
    )
    tpot: float | None = Field(
        0.15, ge=0, le=10, description="Part by which the time for each output token may be longer; 0.15 is 15 %."
    )
    tokens: float | None = Field(
        0.5,
        ge=0,
        le=10,
        description="Part by which answers may have more tokens; with 0.5, half more, or 1 / 1.5 of them.",
    )
    structured: float | None = Field(
        0.02,
        ge=0,
        le=1,
        description="Part of the requests with a schema or grammar by which answers that are not whole may be more.",
    )
    requests: int = Field(
        100,
        ge=30,
        le=1_000_000,
        description="Requests of a class that each version must have finished before the gate passes.",
    )
