"""Where Tidegate differs from a plain `vllm serve` on purpose, and why. The table in docs/api.md is made of this.

A row names the checks whose verdicts differ. The suite fails where a check's verdict differs and no row names it, and
where a row names a check whose verdict no longer differs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.conformance.table import Outcomes


@dataclass(frozen=True, slots=True)
class Difference:
    """One row of the table.

    Attributes:
        what: the subject.
        vllm: what `vllm serve` does.
        tidegate: what Tidegate does.
        reason: why.
        checks: the checks whose verdicts differ.
    """

    what: str
    vllm: str
    tidegate: str
    reason: str
    checks: tuple[str, ...]


DIFFERENCES: tuple[Difference, ...] = ()


def named() -> frozenset[str]:
    """Returns the checks that the table names."""
    return frozenset(check for difference in DIFFERENCES for check in difference.checks)


def unnamed(ours: Outcomes, vllm: Mapping[str, str]) -> dict[str, str]:
    """Returns the checks whose verdicts differ though no row names them, each with both verdicts.

    Args:
        ours: the outcomes of Tidegate.
        vllm: the verdicts of vLLM.
    """
    return {name: both for name, both in _differing(ours, vllm).items() if name not in named()}


def outdated(ours: Outcomes, vllm: Mapping[str, str]) -> list[str]:
    """Returns the checks that a row names though their verdicts do not differ; one that was left out says nothing."""
    known = {name for name, outcome in ours.items() if outcome.verdict != "left out"}
    return sorted((named() & known) - set(_differing(ours, vllm)))


def _differing(ours: Outcomes, vllm: Mapping[str, str]) -> dict[str, str]:
    return {
        name: f"tidegate {outcome.verdict} ({outcome.detail}), vllm {vllm.get(name)}"
        for name, outcome in ours.items()
        if outcome.verdict not in ("left out", vllm.get(name))
    }
