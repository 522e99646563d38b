"""How a rollout goes through a pool: worker by worker, in canary steps, or with one change-over.

rolling       at most `at_once` workers change at the same time, until all have changed
canary        the same, in steps: when as many workers as a step allows have changed, the rollout holds
all_at_once   half of the pool changes and waits; then the pool changes over, and the other half changes

The last step may be an observation: all workers but one have the new version, and the gates go on comparing both.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from services.shared.rollout_settings import RolloutSettings

_SEPARATOR = "/"
ALL_BUT_ONE = 0.9998
"""A share that leaves one worker out in every pool of up to 5,000. Replicas of an earlier release read it right too."""


class Kind(StrEnum):
    """The way of a rollout."""

    ROLLING = "rolling"
    CANARY = "canary"
    ALL_AT_ONCE = "all_at_once"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a canary: how many workers may have the new version, and for how long at least.

    Attributes:
        replicas: So many workers; 0 if the step is a share.
        share: So much of the pool, between 0 and 1; 0 if the step is a number. It is rounded down, to 1 at least.
        hold_ms: Time for which the rollout holds once these workers have changed.
    """

    replicas: int = 0
    share: float = 0.0
    hold_ms: int = 60_000

    def limit(self, pool_size: int) -> int:
        """Workers that may have the new version, in a pool of this size."""
        # 0.28 of 25 is 7, and 6.999... in floating point.
        return self.replicas or max(1, math.floor(self.share * pool_size + 1e-9))

    @property
    def observes(self) -> bool:
        """Whether it leaves the last worker of the old version where it is, to be compared with."""
        return self.share == ALL_BUT_ONE

    def text(self) -> str:
        """For the record in Redis; `of_text` reads it."""
        return _SEPARATOR.join((str(self.replicas), repr(self.share), str(self.hold_ms)))

    @classmethod
    def of_text(cls, text: str) -> "Step":
        """Raises ValueError for what `text` has not written."""
        replicas, share, hold_ms = text.split(_SEPARATOR)
        return cls(int(replicas), float(share), int(hold_ms))


@dataclass(frozen=True, slots=True)
class Policy:
    """The way of one rollout.

    Attributes:
        at_once: Workers that may change at the same time; 0 is as many as the way allows: 1, and half of the pool when
            all change at once.
        steps: The steps of a canary, and the observation if there is one, before the last step, which is the whole
            pool.
        max_wait_ms: For how long a step waits for the verdict of its gate once it has held; then the rollout fails.
    """

    kind: Kind = Kind.ROLLING
    at_once: int = 0
    steps: tuple[Step, ...] = ()
    max_wait_ms: int = 600_000

    @classmethod
    def of_settings(cls, settings: RolloutSettings, kind: Kind | None = None) -> "Policy":
        """What tidegate.yaml says of a pool.

        Args:
            settings: The section `rollout` of the pool.
            kind: Another way than the pool's.
        """
        kind = kind or Kind(settings.policy)
        steps = [Step(s.replicas or 0, s.share or 0.0, int(s.hold_s * 1000)) for s in settings.canary_steps]
        policy = cls(
            kind,
            at_once=settings.at_once or 0,
            steps=tuple(steps) if kind is Kind.CANARY else (),
            max_wait_ms=int(settings.max_wait_s * 1000),
        )
        return policy.observing(int(settings.observes_s(kind) * 1000))

    def stepping(self, steps: Sequence[Step]) -> "Policy":
        """A canary with these steps, and the observation that this policy has."""
        return replace(self, kind=Kind.CANARY, steps=(*steps, *(step for step in self.steps if step.observes)))

    def observing(self, observe_ms: int) -> "Policy":
        """The same way with an observation of this length at its end; 0: without one."""
        steps = tuple(step for step in self.steps if not step.observes)
        observation = (Step(share=ALL_BUT_ONE, hold_ms=observe_ms),) if observe_ms else ()
        return replace(self, steps=steps + observation)

    def holding(self, hold_ms: int) -> "Policy":
        """The same way, with this time after each of its steps; an observation keeps its own."""
        return replace(self, steps=tuple(s if s.observes else replace(s, hold_ms=hold_ms) for s in self.steps))

    def parallel(self, pool_size: int) -> int:
        """Workers that may change at the same time, in a pool of this size."""
        if self.at_once:
            return self.at_once
        return half(pool_size) if self.kind is Kind.ALL_AT_ONCE else 1

    def limit(self, step: int, pool_size: int) -> int | None:
        """Workers that may have the new version in a step. None: all, because it is the last one."""
        return self.steps[step].limit(pool_size) if step < len(self.steps) else None

    def hold_ms(self, step: int, pool_size: int) -> int:
        """How long a step holds in a pool of this size. Of steps that are one there, the longest time counts.

        An observation holds only where a worker of the old version is left.
        """
        limit = self.steps[step].limit(pool_size)
        same = [s for s in self.steps[step:] if s.limit(pool_size) == limit and not (s.observes and limit >= pool_size)]
        return max((one.hold_ms for one in same), default=0)

    def after(self, step: int, pool_size: int) -> int:
        """The next step that allows more workers than this one. In a small pool several steps allow the same."""
        limit = self.steps[step].limit(pool_size)
        later = range(step + 1, len(self.steps))
        larger = (index for index in later if limit < self.steps[index].limit(pool_size) < pool_size)
        return next(larger, len(self.steps))


ONE_BY_ONE = Policy()
"""The policy of a pool that sets none."""


def half(pool_size: int) -> int:
    """Half of a pool, rounded up."""
    return (pool_size + 1) // 2
