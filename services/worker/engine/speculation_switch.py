"""Whether drafting pays: measured in both ways, for each size of the batch, with hysteresis. Pure.

A draft costs about the same however many of its tokens are accepted, and checking it costs more in a large batch. So
the switch compares tokens a second, with and without drafts. Most steps go the present way. From time to time a few
steps go the other way, a probe, and are compared with the steps just before them. The other way must be better by
MARGIN in CONFIRM probes in a row; then it becomes the present one. As long as it is not, probes get rarer, and with
every switch too, so that a batch which is now so and now so does not make it flap. A probe comes after MAX_STAY steps
at the latest.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from statistics import median

PROBE = 10
"""Steps that one way is measured for."""
SETTLE = 3
"""Steps after each change that count for neither way: the engine has planned them before."""
MARGIN = 0.05
"""By what part more tokens a second the other way must make."""
CONFIRM = 2
"""Probes in a row that the other way must win."""
MIN_STAY, MAX_STAY = 64, 2048
"""Steps between two probes: at first, and at most."""


@dataclass(frozen=True, slots=True)
class Step:
    """A step in which every sequence generated, and no prompt was computed. `tokens`: of all sequences."""

    sequences: int
    tokens: int
    seconds: float


@dataclass(slots=True)
class _Size:
    """What is known of batches of about one size."""

    on: bool = True
    probing: bool = False
    stay: int = MIN_STAY
    left: int = MIN_STAY
    won: int = 0
    switches: int = 0
    present: deque[Step] = field(default_factory=lambda: deque(maxlen=PROBE))
    other: deque[Step] = field(default_factory=lambda: deque(maxlen=PROBE))

    @property
    def drafts(self) -> bool:
        return self.on != self.probing


class SpeculationSwitch:
    """Decides for the next step. `switched_on`, `switched_off`: how often it has changed its mind."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._drafts = True
        self._settling = 0
        self.switched_on = self.switched_off = 0

    @property
    def drafts(self) -> bool:
        """What was decided last."""
        return self._drafts

    def plan(self, sequences: int) -> bool:
        """Whether to draft in the next step, for a batch of this size."""
        drafts = self._of(sequences).drafts
        if drafts != self._drafts:
            self._drafts, self._settling = drafts, SETTLE
        return drafts

    def saw(self, step: Step) -> None:
        """Takes a step that went as `plan` last said, but for the first ones after a change."""
        if self._settling:
            self._settling -= 1
            return
        size = self._of(step.sequences)
        if size.drafts != self._drafts or step.seconds <= 0:
            return
        if size.probing:
            size.other.append(step)
            if len(size.other) == PROBE:
                self._judge(size)
            return
        size.present.append(step)
        size.left -= 1
        size.probing = size.left <= 0 and len(size.present) == PROBE

    def _judge(self, size: _Size) -> None:
        is_better = _speed(size.other) > _speed(size.present) * (1 + MARGIN)
        size.probing = False
        size.present.clear()
        size.other.clear()
        size.won = size.won + 1 if is_better else 0
        if size.won == CONFIRM:
            self._switch(size)
        elif size.won:
            size.left = PROBE
        else:
            if size.stay == MAX_STAY:
                size.switches //= 2
            size.left = size.stay = min(2 * size.stay, MAX_STAY)

    def _switch(self, size: _Size) -> None:
        size.on, size.won = not size.on, 0
        size.switches += 1
        size.left = size.stay = min(MIN_STAY * 2**size.switches, MAX_STAY)
        self.switched_on += size.on
        self.switched_off += not size.on

    def _of(self, sequences: int) -> _Size:
        """Sizes between two powers of two are one: there are few of them, and costs differ little."""
        return self._sizes.setdefault(max(0, sequences - 1).bit_length(), _Size())


def _speed(steps: Collection[Step]) -> float:
    """Tokens a second of one sequence. A step that took much longer than the others does not count for it."""
    tokens = sum(step.tokens for step in steps) / sum(step.sequences for step in steps)
    return tokens / median(step.seconds for step in steps)
