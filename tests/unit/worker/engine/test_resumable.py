"""Whether another worker could continue an answer exactly."""

from typing import Any

import pytest

from services.worker.engine.contract import Sampling
from services.worker.engine.resumable import obstacle


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0.0},
        {"temperature": 1.0, "top_p": 0.9, "top_k": 40, "min_p": 0.1},
        {"temperature": 0.0, "seed": 7},
        {"stop": ("a",), "stop_token_ids": (7,), "min_tokens": 3, "max_tokens": 9},
        {"repetition_penalty": 1.3, "logit_bias": {7: -100.0}},
        {"n": 3, "top_logprobs": 5, "echo": True},
    ],
)
def test_state_that_depends_only_on_tokens_is_no_obstacle(parameters: dict[str, Any]) -> None:
    assert obstacle(Sampling(**parameters), structured=False) is None


@pytest.mark.parametrize(
    ("parameters", "structured", "lacking"),
    [
        ({}, True, "grammar"),
        ({"temperature": 1.0, "seed": 0}, False, "seed"),
        ({"presence_penalty": -0.1}, False, "how often"),
        ({"frequency_penalty": 0.1}, False, "how often"),
    ],
)
def test_other_state_is_an_obstacle(parameters: dict[str, Any], structured: bool, lacking: str) -> None:
    assert lacking in str(obstacle(Sampling(**parameters), structured=structured))
