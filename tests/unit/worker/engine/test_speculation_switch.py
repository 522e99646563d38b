"""The switch against a world in which both ways have a speed."""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from services.worker.engine.speculation_switch import (
    CONFIRM,
    MAX_STAY,
    MIN_STAY,
    PROBE,
    SETTLE,
    SpeculationSwitch,
    Step,
)

SEQUENCES = 8
# A probe, with what goes before and after it.
ROUND = 2 * (PROBE + SETTLE)
FOUND_OUT = MIN_STAY + 2 * CONFIRM * ROUND
"""Steps until a fresh switch has found out that the other way is better."""


@dataclass
class World:
    """`gain(now)`: how many times as many tokens a second drafting makes. Steps differ by `noise`, a few by more."""

    gain: Callable[[int], float]
    noise: float = 0.0
    seed: int = 0
    switch: SpeculationSwitch = field(default_factory=SpeculationSwitch)
    drafted: list[bool] = field(default_factory=list)
    switches_at: list[int] = field(default_factory=list)

    def run(self, steps: int) -> "World":
        random = Random(self.seed)
        for now in range(len(self.drafted), len(self.drafted) + steps):
            drafts = self.switch.plan(SEQUENCES)
            before = self.switches
            seconds = 0.01 * random.uniform(1 - self.noise, 1 + self.noise) * (20 if random.random() < 0.02 else 1)
            tokens = SEQUENCES * (2 if drafts else 1)
            self.switch.saw(Step(SEQUENCES, tokens, seconds * (2 / self.gain(now) if drafts else 1)))
            self.drafted.append(drafts)
            self.switches_at += [now] * (self.switches - before)
        return self

    @property
    def switches(self) -> int:
        return self.switch.switched_on + self.switch.switched_off


SEEDS = st.integers(0, 10_000)


@given(gain=st.floats(0.2, 0.85), noise=st.floats(0, 0.03), seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_what_costs_more_than_it_gains_is_switched_off_once_and_costs_next_to_nothing(
    gain: float, noise: float, seed: int
) -> None:
    world = World(lambda _: gain, noise, seed).run(FOUND_OUT)
    assert (world.switches, world.switch.switched_off) == (1, 1)
    world.run(4 * MAX_STAY)
    assert world.switches == 1
    assert sum(world.drafted[-2 * MAX_STAY :]) <= 3 * (PROBE + SETTLE)


@given(gain=st.floats(0.97, 5), noise=st.floats(0, 0.01), seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_what_gains_or_makes_no_difference_stays_on(gain: float, noise: float, seed: int) -> None:
    world = World(lambda _: gain, noise, seed).run(3 * MAX_STAY)
    assert world.switches == 0
    assert sum(not drafts for drafts in world.drafted) < 10 * (PROBE + SETTLE)


@given(bad=st.integers(200, 10_000), seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_it_is_on_again_within_a_bound_when_it_pays_again(bad: int, seed: int) -> None:
    world = World(lambda now: 0.7 if now < bad else 1.5, 0.02, seed).run(bad + MAX_STAY + 2 * CONFIRM * ROUND)
    assert world.switch.plan(SEQUENCES)
    assert world.switches % 2 == 0


@given(gains=st.lists(st.floats(0.1, 10), min_size=1, max_size=400), length=st.integers(1, 500), seed=SEEDS)
@settings(max_examples=8, deadline=None)
def test_it_never_flaps_whatever_the_world_does(gains: list[float], length: int, seed: int) -> None:
    world = World(lambda now: gains[now // length % len(gains)], 0.3, seed).run(10_000)
    between = [later - earlier for earlier, later in zip(world.switches_at, world.switches_at[1:], strict=False)]
    assert all(steps >= 2 * MIN_STAY for steps in between)
    # With each switch the next one is twice as far, up to MAX_STAY; they come nearer only after that long without one.
    assert len(world.switches_at) <= 7 + 10_000 // MAX_STAY


def test_sizes_of_the_batch_are_told_apart() -> None:
    switch = SpeculationSwitch()
    for _ in range(FOUND_OUT):
        drafts = switch.plan(32)
        switch.saw(Step(32, 64 if drafts else 32, 0.03 if drafts else 0.01))
    assert not switch.plan(32)
    assert not switch.plan(20)
    assert switch.plan(1)
    assert switch.switched_off == 1
