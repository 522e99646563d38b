"""The study: capacity first, then every policy on the same traffic at several loads, and with and without a flood."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import redis
from pydantic import Field

from loadtests.simulator import traffic
from loadtests.simulator.ask import Ask
from loadtests.simulator.engine import Engine
from loadtests.simulator.measures import Measures, measure
from loadtests.simulator.policies import PEERS, Policy, dispatch_of
from loadtests.simulator.scenario import Flood, Scenario
from loadtests.simulator.simulation import Simulation
from loadtests.strict import Strict

OURS: Policy = "prefix"
UNLOADED = 0.1
LOADS = (0.7, 1.0, 2.0)
FLOODED = 0.7
FLOOD_LASTS = 4
"""Times a scenario's duration: of the hundred requests of a tenant in one, the 99th percentile is the slowest."""
SATURATING = 1.5
"""Times a fleet's rate without any prefill: nobody keeps up with that."""

Progress = Callable[[str, float, int], None]
"""Told what runs, how much of its duration is over (1 and more while the rest is answered), and requests ended."""


class Study(Strict):
    """By load, then policy. `capacity_per_s`: requests that our placement answers while more than enough wait."""

    scenario: Scenario
    capacity_per_s: float
    unloaded: Measures
    loads: dict[float, dict[Policy, Measures]]
    calm: dict[Policy, Measures] = Field(
        description="at FLOODED times capacity; ours once, as isolation is the queue's"
    )
    flooded: dict[Policy, Measures] = Field(description="the same, and one tenant floods")


@dataclass
class Laboratory:
    client: redis.Redis
    progress: Progress

    def study(self, scenario: Scenario, policies: Sequence[Policy], loads: Sequence[float], times: float) -> Study:
        """times: of its share that a tenant sends in a flood."""
        capacity = self.capacity(scenario)
        flooded: list[Policy] = [policy for policy in policies if policy in (OURS, *PEERS)]
        # As many requests as there are at capacity: percentiles want them.
        longer = scenario.model_copy(update={"duration_s": scenario.duration_s / UNLOADED})
        calm = scenario.model_copy(update={"duration_s": scenario.duration_s * FLOOD_LASTS})
        flood = calm.model_copy(update={"flood": Flood(times=times)})
        return Study(
            scenario=scenario,
            capacity_per_s=capacity,
            unloaded=self.at(longer, OURS, UNLOADED, capacity),
            loads={load: {policy: self.at(scenario, policy, load, capacity) for policy in policies} for load in loads},
            calm={policy: self.at(calm, policy, FLOODED, capacity) for policy in flooded},
            flooded={policy: self.at(flood, policy, FLOODED, capacity) for policy in flooded},
        )

    def capacity(self, scenario: Scenario) -> float:
        asks = traffic.generate(scenario, SATURATING * decoding_rate(scenario))
        return self.run(scenario, OURS, asks, "capacity").answered_per_s

    def at(self, scenario: Scenario, policy: Policy, load: float, capacity: float) -> Measures:
        asks = traffic.generate(scenario, load * capacity)
        flooding = ", flooded" if scenario.flood else ""
        return self.run(scenario, policy, asks, f"{policy} at {load:g}x{flooding}")

    def run(self, scenario: Scenario, policy: Policy, asks: Sequence[Ask], title: str) -> Measures:
        fleet = [Engine(scenario.engine) for _ in range(scenario.workers)]
        dispatch = dispatch_of(policy, scenario, fleet, self.client)

        def progress(now_ms: float, ended: int) -> None:
            self.progress(title, now_ms / (1000 * scenario.duration_s), ended)

        simulation = Simulation(scenario, asks, dispatch, fleet, progress)
        simulation.run()
        return measure(policy, simulation)


def decoding_rate(scenario: Scenario) -> float:
    """Requests per second that full engines answer if prompts cost nothing and answers have the expected length."""
    engine = scenario.engine
    step_s = (engine.step_ms + engine.sequence_ms * engine.max_running) / 1000
    return scenario.workers * engine.max_running / (step_s * scenario.expected_output_tokens)
