"""How many workers a pool should have for what runs and waits."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from services.shared.classes import ServiceClass
from services.shared.config import Pool

FULL = 0.8
"""Share of its slots that a pool of the desired size has in use."""


@dataclass(frozen=True, slots=True)
class Sizing:
    """What tidegate.yaml says about the number of a pool's workers.

    Attributes:
        slots: Requests that one worker runs at once.
        fewest: Workers that the pool has while nothing runs or waits: 0 or 1.
        adapters: Adapters that are named one by one.
        embeds: Workers make vectors and no text.
    """

    slots: int = 1
    fewest: int = 1
    adapters: tuple[str, ...] = ()
    embeds: bool = False

    @classmethod
    def of_pool(cls, pool: Pool) -> Self:
        """The sizing of a pool."""
        named = pool.adapters.names if pool.adapters else ()
        return cls(
            slots=pool.engine.max_running,
            fewest=0 if pool.scales_from_zero else 1,
            adapters=tuple(sorted({name.partition("@")[0] for name in named if not name.endswith("*")})),
            embeds=pool.engine.runner == "pooling",
        )

    def desired(self, slots: Sequence[int], granted: int, queued: Mapping[ServiceClass, int]) -> int:
        """Workers that would run all that runs and waits at FULL of their slots.

        Queued batch has time: it wants one worker, not more.

        Args:
            slots: Slots of each worker that there is.
            granted: Requests that run.
            queued: Requests that wait, by class.
        """
        size = sum(slots) / len(slots) if slots else self.slots
        urgent = granted + sum(number for c, number in queued.items() if c != ServiceClass.BATCH)
        fewest = max(self.fewest, int(any(queued.values())))
        return max(fewest, math.ceil(urgent / (FULL * size)))
