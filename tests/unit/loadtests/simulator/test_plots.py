"""The pictures of a study."""

from loadtests.simulator.plots import COLOURS
from loadtests.simulator.policies import POLICIES


def test_every_policy_can_be_drawn() -> None:
    assert set(COLOURS) == set(POLICIES)
