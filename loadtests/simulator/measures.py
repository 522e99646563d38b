"""The results of a simulation: TTFT, waits, outcomes and goodput by class; hit rate and balance of the fleet."""

from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import Field

from loadtests.figures import Spread, percentile
from loadtests.profile import Objectives
from loadtests.simulator.loads import Loads
from loadtests.simulator.request import Request
from loadtests.simulator.scenario import Scenario
from loadtests.simulator.simulation import LOADS_EVERY_MS, Simulation
from loadtests.simulator.traffic import FLOODING
from loadtests.strict import Strict
from services.shared.classes import ServiceClass


class ClassMeasures(Strict):
    """Requests that came after the warm-up. `goodput`: share of them that met all objectives of their class."""

    asked: int
    outcomes: dict[str, int]
    goodput: float
    ttft_ms: Spread | None
    wait_ms: Spread | None = Field(description="from arrival to the first grant")


class Balance(Strict):
    """Balance of sequences in engines, while their mean was large enough to compare with."""

    mean_sequences: float
    ratio_p50: float | None = Field(description="the fullest worker's, against the mean")
    ratio_p99: float | None
    share_above: float = Field(description="of the time, in which some worker was above 1.25 times the mean")
    longest_s: float = Field(description="for which one and the same worker was")


class Measures(Strict):
    """All results of one run."""

    policy: str
    requests_per_s: float = Field(description="that came, the warm-up left out")
    answered_per_s: float = Field(description="while requests came, the warm-up left out")
    good_per_s: float = Field(description="requests that came, met their objectives")
    hit_rate: float = Field(description="share of prompt tokens that engines found in their caches")
    classes: dict[str, ClassMeasures]
    balance: Balance
    yields: int
    tenants_ttft_p99_ms: dict[str, float] = Field(description="of default requests, by tenant")
    others_answered: float = Field(description="share of the default requests of all but the first tenant")


def measure(policy: str, simulation: Simulation) -> Measures:
    """Computes the results of a run."""
    scenario = simulation.scenario
    warm_ms, end_ms = 1000 * scenario.warmup_s, 1000 * scenario.duration_s
    counted = [request for request in simulation.requests if request.ask.due_ms >= warm_ms]
    answered = [request for request in counted if request.outcome == "ok"]
    seconds = scenario.duration_s - scenario.warmup_s
    done = sum(
        request.outcome == "ok" and warm_ms <= (request.ended_ms or 0) < end_ms for request in simulation.requests
    )
    classes = {c.label: of_class(scenario, c, counted) for c in ServiceClass if c.label in scenario.classes}
    others = [r for r in counted if r.ask.service_class == ServiceClass.DEFAULT and r.ask.tenant != FLOODING]
    prompt = sum(request.ask.prompt_tokens for request in answered)
    return Measures(
        policy=policy,
        requests_per_s=len(counted) / seconds,
        answered_per_s=done / seconds,
        good_per_s=sum(found.goodput * found.asked for found in classes.values()) / seconds,
        hit_rate=sum(request.cached_tokens for request in answered) / prompt if prompt else 0.0,
        classes=classes,
        balance=balance(simulation.loads),
        yields=simulation.yields,
        others_answered=sum(request.outcome == "ok" for request in others) / len(others) if others else 0.0,
        tenants_ttft_p99_ms=by_tenant(
            request for request in answered if request.ask.service_class == ServiceClass.DEFAULT
        ),
    )


def of_class(scenario: Scenario, service_class: ServiceClass, counted: Sequence[Request]) -> ClassMeasures:
    """Computes the results of one class."""
    mine = [request for request in counted if request.ask.service_class == service_class]
    answered = [request for request in mine if request.outcome == "ok"]
    objectives = next(t.objectives for label, t in scenario.classes.items() if label == service_class.label)
    return ClassMeasures(
        asked=len(mine),
        outcomes=dict(Counter(request.outcome for request in mine).most_common()),
        goodput=sum(is_good(request, objectives) for request in answered) / len(mine) if mine else 0.0,
        ttft_ms=Spread.of(ttft_ms(request) / 1000 for request in answered),
        wait_ms=Spread.of(((request.granted_ms or 0) - request.ask.due_ms) / 1000 for request in answered),
    )


def ttft_ms(request: Request) -> float:
    """Time to first token of an answered request."""
    return (request.first_token_ms or 0) - request.ask.due_ms


def is_good(request: Request, objectives: Objectives) -> bool:
    """Whether a request met its objectives. TPOT = (end - first token) / (tokens - 1); one token has no TPOT."""
    ended_ms, first_ms = request.ended_ms or 0, request.first_token_ms or 0
    tpot_ms = (ended_ms - first_ms) / max(1, request.ask.output_tokens - 1)
    measured = (
        (ttft_ms(request), objectives.ttft_ms),
        (tpot_ms, objectives.tpot_ms),
        (ended_ms - request.ask.due_ms, objectives.e2e_ms),
    )
    return all(limit is None or took <= limit for took, limit in measured)


def balance(loads: Loads) -> Balance:
    """Computes the balance."""
    ratios = sorted(loads.ratios)
    return Balance(
        mean_sequences=sum(loads.means) / len(loads.means) if loads.means else 0.0,
        ratio_p50=percentile(ratios, 50) if ratios else None,
        ratio_p99=percentile(ratios, 99) if ratios else None,
        share_above=loads.share_above,
        longest_s=loads.longest * LOADS_EVERY_MS / 1000,
    )


def by_tenant(answered: Iterable[Request]) -> dict[str, float]:
    """TTFT p99 (ms) of each tenant."""
    taken: dict[str, list[float]] = {}
    for request in answered:
        taken.setdefault(request.ask.tenant, []).append(ttft_ms(request))
    return {tenant: percentile(sorted(values), 99) for tenant, values in sorted(taken.items())}
