"""The policy that a request asks for."""

from typing import Any

import pytest

from services.router.core.rollout_policy import Kind, Policy, Step
from services.router.rollout_request import policy_of
from services.shared.rollout_settings import CanaryStep, RolloutSettings
from tidegate.router.v1 import router_pb2 as pb

ROLLING = RolloutSettings(observe_s=5)
CANARY = RolloutSettings(policy="canary", steps=(CanaryStep(replicas=1, hold_s=7),))
STEPS = [pb.CanaryStep(workers=1, hold_ms=10), pb.CanaryStep(share=0.5)]


def policy(settings: RolloutSettings, **fields: Any) -> Policy:
    return policy_of(pb.StartRolloutRequest(pool="tide", **fields), settings)


def test_without_a_word_it_is_the_pool_s() -> None:
    assert policy(ROLLING) == Policy.of_settings(ROLLING)
    assert policy(CANARY) == Policy.of_settings(CANARY)
    assert policy(CANARY, at_once=3).at_once == 3


def test_steps_make_a_canary_that_observes_if_the_pool_says_so() -> None:
    asked = policy(ROLLING, steps=STEPS)
    assert (asked.kind, asked.steps[:2]) == (Kind.CANARY, (Step(1, hold_ms=10), Step(share=0.5)))
    assert asked.steps[2].observes
    assert policy(RolloutSettings(), steps=STEPS).steps == (Step(1, hold_ms=10), Step(share=0.5))


def test_a_hold_is_that_of_every_step_and_an_observation_has_its_own() -> None:
    asked = policy(ROLLING, steps=STEPS, hold_ms=0)
    assert [step.hold_ms for step in asked.steps] == [0, 0, 5_000]
    assert [step.hold_ms for step in policy(CANARY, hold_ms=30, observe_ms=40).steps] == [30, 40]
    assert policy(ROLLING, observe_ms=0).steps == ()


def test_a_way_back_has_neither_steps_nor_an_observation() -> None:
    for settings in (ROLLING, CANARY):
        back = policy(settings, without_steps=True)
        assert (back.kind, back.steps) == (Kind.ROLLING, ())
    assert policy(RolloutSettings(policy="all_at_once"), without_steps=True).kind is Kind.ALL_AT_ONCE


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"steps": STEPS, "policy": pb.ROLLOUT_POLICY_ROLLING}, "steps and the policy rolling: only a canary"),
        ({"steps": STEPS * 9}, "18 steps: a canary has at most 16"),
        ({"steps": [pb.CanaryStep()]}, "a step of 0 workers: it has 1 to 4,096"),
        ({"steps": [pb.CanaryStep(share=1.5)]}, "a step of 1.5 of the pool"),
        ({"hold_ms": 5}, "a hold and the policy rolling"),
        ({"steps": STEPS, "hold_ms": 86_400_001}, "a hold of 86400 s: it is at most 86400 s"),
        ({"observe_ms": 5, "policy": pb.ROLLOUT_POLICY_ALL_AT_ONCE}, "an observation and the policy all_at_once"),
    ],
)
def test_a_request_that_contradicts_itself_says_how(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        policy(ROLLING, **fields)
