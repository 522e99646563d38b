"""The goals of scheduling, and whether a study meets them."""

from dataclasses import dataclass
from statistics import median

from loadtests.simulator.loads import BALANCE
from loadtests.simulator.measures import Measures
from loadtests.simulator.study import OURS, Study
from loadtests.simulator.traffic import FLOODING

PRIORITY_RATIO = 1.2
TENANT_RATIO = 1.2
LONG_S = 5.0


@dataclass(frozen=True, slots=True)
class Goal:
    """A goal, what was found, and whether it is met."""

    says: str
    found: str
    met: bool


def goals(study: Study) -> list[Goal]:
    """All goals of a study."""
    worst = max(study.loads)
    return [
        _priority(study, worst),
        _isolation(study),
        *(_balance(load, by_policy[OURS]) for load, by_policy in study.loads.items() if OURS in by_policy),
    ]


def ttft_p99(measures: Measures, label: str) -> float:
    """TTFT p99 (ms) of a class; not a number when nothing was answered."""
    found = measures.classes.get(label)
    return found.ttft_ms.p99 if found and found.ttft_ms else float("nan")


def tenants_moved(study: Study, policy: str) -> list[float]:
    """For each other tenant, how many times its TTFT p99 (default requests) grew with the noisy tenant."""
    calm = next(m for p, m in study.calm.items() if p == policy).tenants_ttft_p99_ms
    flooded = next(m for p, m in study.flooded.items() if p == policy).tenants_ttft_p99_ms
    return [flooded.get(t, float("inf")) / p99 for t, p99 in calm.items() if t != FLOODING]


def _priority(study: Study, load: float) -> Goal:
    unloaded, loaded = ttft_p99(study.unloaded, "priority"), ttft_p99(study.loads[load][OURS], "priority")
    return Goal(
        f"`priority` TTFT p99 at {load:g}x at most {PRIORITY_RATIO:g} times the unloaded one",
        f"{loaded:.0f} ms against {unloaded:.0f} ms: {loaded / unloaded:.2f}",
        loaded <= PRIORITY_RATIO * unloaded,
    )


def _isolation(study: Study) -> Goal:
    moved = tenants_moved(study, OURS)
    return Goal(
        f"a flood moves another tenant's TTFT p99 to at most {TENANT_RATIO:g} times",
        f"median of the tenants {median(moved):.2f}, worst {max(moved):.2f}",
        median(moved) <= TENANT_RATIO,
    )


def _balance(load: float, found: Measures) -> Goal:
    return Goal(
        f"no worker above {BALANCE:g} times the mean load for {LONG_S:g} s, at {load:g}x",
        f"longest {found.balance.longest_s:.1f} s",
        found.balance.longest_s < LONG_S,
    )
