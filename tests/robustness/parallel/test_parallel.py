"""How the drill compares answers. `python -m tests.robustness.parallel` runs it; that takes several minutes."""

from dataclasses import replace
from pathlib import Path

import pytest

from services.shared.config import load
from tests.robustness.parallel.drill import NEAR_TIE, PARTS, WHOLE, Answer, config, difference

GIVEN = Answer(["a", "b", "c"], [1.0, 0.5, 2 * NEAR_TIE])


@pytest.mark.parametrize(("pool", "processes"), [(WHOLE, 1), ("tensor", 3), ("pipeline", 2)])
def test_the_pools_differ_in_their_processes(pool: str, processes: int, tmp_path: Path) -> None:
    assert {WHOLE, *PARTS} == {"whole", "tensor", "pipeline"}
    file = tmp_path / "tidegate.yaml"
    file.write_text(config(pool))
    engine = load(file).pool(pool).engine
    assert engine.kind == "vllm"
    assert engine.ranks == processes


def test_the_same_tokens_are_no_difference() -> None:
    assert difference(GIVEN, replace(GIVEN, margins=[0.1, 0.1, 0.1])) is None


def test_other_tokens_are_told_with_their_place_and_margin() -> None:
    said = difference(GIVEN, replace(GIVEN, tokens=["a", "x", "y"]))
    assert said == "token 1 is 'x' and not 'b', which is ahead by 0.500"


def test_a_near_tie_may_turn_around_and_what_follows_is_free() -> None:
    near = replace(GIVEN, margins=[1.0, NEAR_TIE / 2, 1.0])
    assert difference(near, replace(near, tokens=["a", "x", "y"])) is None
    assert difference(near, replace(near, tokens=["x", "b", "c"])) is not None
