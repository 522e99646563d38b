"""The section `classes` of tidegate.yaml: the rules of a service class."""

from typing import Any

from pydantic import Field

from services.shared.classes import ServiceClass
from services.shared.strict_model import Strict


class ClassPolicy(Strict):
    """The rules of one service class. Each class has its own defaults."""

    max_queued: int = Field(
        1000, ge=0, description="Requests of the class that may wait; more are refused with 429 and Retry-After."
    )
    max_queued_tokens: int = Field(
        4_000_000,
        ge=0,
        description="Estimated tokens of the class that may wait; more are refused with 429 and Retry-After.",
    )
    max_wait_s: float = Field(60.0, gt=0, description="Seconds that a request may wait; then it fails.")
    ttft_objective_s: float = Field(5.0, gt=0, description="Objective for the time to first token, in seconds.")
    ageing_s: float = Field(
        0.0,
        ge=0,
        description="After this many seconds without a grant while higher classes get grants, the class gets one grant"
        " in ten. 0: never.",
    )
    preempts: bool = Field(
        False,
        description="A request of this class may preempt requests of preemptible classes when its time to first token"
        " is likely to miss the objective.",
    )
    preemptible: bool = Field(
        False, description="Running requests of this class may be preempted; they are resumed later."
    )


DEFAULT_POLICIES = {
    ServiceClass.PRIORITY: ClassPolicy(max_wait_s=30, ttft_objective_s=0.5, preempts=True),
    ServiceClass.DEFAULT: ClassPolicy(ageing_s=10),
    ServiceClass.FLEX: ClassPolicy(max_wait_s=600, ttft_objective_s=60, ageing_s=60, preemptible=True),
    ServiceClass.BATCH: ClassPolicy(
        max_queued=10_000,
        max_queued_tokens=40_000_000,
        max_wait_s=86_400,
        ttft_objective_s=3600,
        ageing_s=300,
        preemptible=True,
    ),
}


def merged_policy(default: ClassPolicy, given: Any) -> Any:
    """The defaults of the class with the given values. A value of a wrong type stays as it is: pydantic refuses it."""
    if isinstance(given, ClassPolicy):
        given = given.model_dump(exclude_unset=True)
    return default.model_dump() | given if isinstance(given, dict) else given
