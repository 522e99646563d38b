"""The study: capacity, then every policy on the same traffic at several loads, and with and without a noisy tenant."""

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
"""How many times longer runs with a noisy tenant are: in one duration a tenant has only a hundred requests."""
SATURATING = 1.5
"""How many times the rate of a fleet without any prefill is sent to measure capacity: more than it can take."""

Progress = Callable[[str, float, int], None]
"""Called with what runs, the share of its duration that is over (above 1 at the end), and the ended requests."""


class Study(Strict):
    """Results by load, then by policy. `capacity_per_s`: requests answered with `prefix` while the queue is long."""

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
    """Runs simulations on one Redis."""

    client: redis.Redis
    progress: Progress

    def study(self, scenario: Scenario, policies: Sequence[Policy], loads: Sequence[float], times: float) -> Study:
        """Runs the whole study. `times`: how many times its share the noisy tenant sends."""
        capacity = self.capacity(scenario)
        flooded: list[Policy] = [policy for policy in policies if policy in (OURS, *PEERS)]
        # As many requests as at capacity, because percentiles need them.
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
        """Requests a second that `prefix` answers while the queue is long."""
        asks = traffic.generate(scenario, SATURATING * decoding_rate(scenario))
        return self.run(scenario, OURS, asks, "capacity").answered_per_s

    def at(self, scenario: Scenario, policy: Policy, load: float, capacity: float) -> Measures:
        """Runs one policy at a multiple of capacity."""
        asks = traffic.generate(scenario, load * capacity)
        flooding = ", flooded" if scenario.flood else ""
        return self.run(scenario, policy, asks, f"{policy} at {load:g}x{flooding}")

    def run(self, scenario: Scenario, policy: Policy, asks: Sequence[Ask], title: str) -> Measures:
        """Runs one policy on given traffic."""
        fleet = [Engine(scenario.engine) for _ in range(scenario.workers)]
        dispatch = dispatch_of(policy, scenario, fleet, self.client)

        def progress(now_ms: float, ended: int) -> None:
            self.progress(title, now_ms / (1000 * scenario.duration_s), ended)

        simulation = Simulation(scenario, asks, dispatch, fleet, progress)
        simulation.run()
        return measure(policy, simulation)


def decoding_rate(scenario: Scenario) -> float:
    """Requests a second that full engines answer, if prompts cost nothing and answers have the expected length."""
    engine = scenario.engine
    step_s = (engine.step_ms + engine.sequence_ms * engine.max_running) / 1000
    return scenario.workers * engine.max_running / (step_s * scenario.expected_output_tokens)
