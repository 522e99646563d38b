"""The gates of a pool in tidegate.yaml: how much worse a new version may be while a rollout runs (docs/models.md)."""

from typing import Any, Literal

from pydantic import Field, field_validator

from services.shared.strict_model import Strict


class EvaluationBound(Strict):
    """How much worse one value of a version's evaluation may be than that of the version it was trained from."""

    better: Literal["lower", "higher"] = Field("lower", description="Which values are better.")
    worse_by: float = Field(
        0.05, ge=0, description="Part of the former value by which the new one may be worse; 0.05 is 5 %."
    )
    required: bool = Field(
        False, description="Refuses versions whose manifest has no such value. Default: they pass this gate."
    )


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
    length: float | None = Field(
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
    evaluation: dict[str, EvaluationBound | None] = Field(
        default_factory=dict,
        validate_default=True,
        max_length=64,
        description="Bounds on the evaluation in the manifest, by the name of the value; `null` switches one off. A"
        " version that is worse is not rolled out. Default: `held_out_loss`, which the trainer writes, with the"
        " defaults of its keys.",
    )

    @field_validator("evaluation", mode="before")
    @classmethod
    def _the_trainer_s_value_has_a_bound(cls, given: Any) -> Any:
        return {"held_out_loss": EvaluationBound()} | given if isinstance(given, dict) else given
