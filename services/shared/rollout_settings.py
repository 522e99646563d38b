"""The section `rollout` of a pool in tidegate.yaml: how the pool changes to another version of its model."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from services.shared.strict_model import Strict

MAX_STEPS = 16


class CanaryStep(Strict):
    """One step of a canary. The whole pool follows the last one."""

    replicas: int | None = Field(
        None, ge=1, le=4096, description="Workers that may have the new version. Not together with `share`."
    )
    share: float | None = Field(
        None,
        gt=0,
        le=1,
        description="Share of the pool that may have it, rounded down, but one worker at least. Not together with"
        " `replicas`.",
    )
    hold_s: float = Field(
        60.0, ge=0, le=86_400, description="Seconds for which the rollout holds once these workers have changed."
    )

    @model_validator(mode="after")
    def _has_one_size(self) -> "CanaryStep":
        if (self.replicas is None) == (self.share is None):
            raise ValueError(
                f"replicas = {self.replicas} and share = {self.share}: a step has one of them. Set exactly one"
            )
        return self


_OBSERVE_S = 60.0
_DEFAULT_STEPS = (CanaryStep(replicas=1), CanaryStep(share=0.25), CanaryStep(share=0.5))


class RolloutSettings(Strict):
    """How a pool changes to another version."""

    policy: Literal["rolling", "canary", "all_at_once"] = Field(
        "rolling",
        description="`rolling`: worker by worker. `canary`: in steps, with a time to look after each. `all_at_once`: no"
        " request starts on the old version after one has started on the new version.",
    )
    at_once: int | None = Field(
        None,
        ge=1,
        le=4096,
        description="Workers that may change at the same time. Default: 1; half of the pool with `all_at_once`.",
    )
    steps: tuple[CanaryStep, ...] = Field(
        (),
        max_length=MAX_STEPS,
        description="The steps of a canary. A step that allows no more workers than the one before is left out, as in a"
        " small pool. Default: one worker, a quarter, half, each for 60 seconds.",
    )
    observe_s: float | None = Field(
        None,
        ge=0,
        le=86_400,
        description="Seconds for which the last worker of the old version stays, once all others have the new one: the"
        " gates go on comparing both. Not with `all_at_once`. 0: it changes at once. Default: 60 for a canary without"
        " `steps`, else 0.",
    )
    max_wait_s: float = Field(
        600.0,
        gt=0,
        le=86_400,
        description="Seconds after `hold_s` for which a step waits for the verdict of its gate. Without one by then,"
        " the rollout is undone.",
    )
    canary_tenants: tuple[Annotated[str, Field(min_length=1, max_length=256)], ...] = Field(
        (),
        max_length=256,
        description="Tenants whose requests may ask for the new version of a canary with the header"
        " `x-tidegate-canary: true`.",
    )

    @property
    def canary_steps(self) -> tuple[CanaryStep, ...]:
        """The steps of a canary: those of the file, or the default ones."""
        return self.steps or _DEFAULT_STEPS

    def observes_s(self, policy: str) -> float:
        """Seconds for which the last worker of the old version stays, under a policy that may be another one."""
        if policy == "all_at_once":
            return 0.0
        if self.observe_s is not None:
            return self.observe_s
        return _OBSERVE_S if policy == "canary" and not self.steps else 0.0

    @model_validator(mode="after")
    def _steps_are_of_a_canary(self) -> "RolloutSettings":
        if self.steps and self.policy != "canary":
            raise ValueError(f"steps and policy = {self.policy}: only a canary has steps. Set policy: canary")
        return self

    @model_validator(mode="after")
    def _a_change_over_leaves_nobody_to_compare_with(self) -> "RolloutSettings":
        if self.observe_s and self.policy == "all_at_once":
            raise ValueError(
                f"observe_s = {self.observe_s:g} and policy = all_at_once: no worker of the old version takes requests"
                " after the change-over. Set policy: rolling or canary, or leave observe_s out"
            )
        return self
