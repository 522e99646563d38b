"""The formulas of merging, against values computed by hand."""

import json
import math
from typing import Any

import pytest
import torch

from trainer.making_recipe import MergeRecipe
from trainer.methods.merge import merged, slerp
from trainer.recipe_file import parse

BASE = torch.tensor([1.0, 1.0, 1.0, 1.0])
ONE = torch.tensor([3.0, 1.5, 0.0, 5.0])  # changes: 2, 0.5, -1, 4
TWO = torch.tensor([2.0, -2.0, 3.0, 1.25])  # changes: 1, -3, 2, 0.25


def recipe(merge_method: str, *weights: float, **changed: Any) -> MergeRecipe:
    models = [{"model": f"m{number}", "weight": weight} for number, weight in enumerate(weights)]
    document = {"base": "tiny", "method": "merge", "merge_method": merge_method, "models": models, **changed}
    return MergeRecipe.model_validate(document)


def test_a_recipe_travels_with_its_job() -> None:
    made = recipe("slerp", 1, t=0.25, publish={"name": "a"})
    assert parse(json.loads(made.model_dump_json())) == made


def test_linear_is_the_mean_by_weights_that_add_up_to_one() -> None:
    found = merged(recipe("linear", 3, 1), "a", BASE, [ONE, TWO])
    assert found.tolist() == pytest.approx([2.75, 0.625, 0.75, 4.0625])


def test_slerp_goes_along_the_arc() -> None:
    start, end = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    third = [2 * math.cos(math.pi / 6), 2 * math.sin(math.pi / 6)]
    assert merged(recipe("slerp", 1, t=1 / 3), "a", start, [end])[0].tolist() == pytest.approx(third)
    assert merged(recipe("slerp", 1), "a", start, [end])[0].tolist() == pytest.approx([math.sqrt(2)] * 2)
    assert slerp(start, end, 0)[0].tolist() == pytest.approx([2, 0])
    assert slerp(start, end, 1)[0].tolist() == pytest.approx([0, 2], abs=1e-6)


@pytest.mark.parametrize(
    ("start", "end", "middle"),
    [([1.0, 2.0], [3.0, 6.0], [2.0, 4.0]), ([0.0, 0.0], [4.0, 2.0], [2.0, 1.0]), ([1.0, 0.0], [-1.0, 0.0], [0.0, 0.0])],
    ids=["parallel", "zeros", "opposite"],
)
def test_slerp_is_a_straight_line_where_there_is_no_arc(
    start: list[float], end: list[float], middle: list[float]
) -> None:
    assert slerp(torch.tensor(start), torch.tensor(end), 0.5).tolist() == pytest.approx(middle)


def test_ties_keeps_the_largest_changes_and_those_of_the_sign_that_outweighs() -> None:
    # Half of the changes stay: 2, 0, 0, 4 and 0, -3, 2, 0. No two are for one number: each counts whole.
    assert merged(recipe("ties", 1, 1), "a", BASE, [ONE, TWO]).tolist() == pytest.approx([3, -2, 3, 5])
    # All stay: 2 and 1 have one sign, their mean is 1.5; -3 outweighs 0.5, 2 outweighs -1.
    whole = merged(recipe("ties", 1, 1, density=1), "a", BASE, [ONE, TWO])
    assert whole.tolist() == pytest.approx([2.5, -2, 3, 3.125])
    # Weights count after the signs: (2 * 2 + 1) / 2.
    assert merged(recipe("ties", 2, 1, density=1), "a", BASE, [ONE, TWO])[0] == pytest.approx(3.5)


def test_dare_drops_changes_at_random_and_lengthens_the_rest() -> None:
    base, change = torch.zeros(10_000), torch.full((10_000,), 3.0)
    found = merged(recipe("dare_linear", 0.5, density=0.25), "a", base, [change])
    assert set(found.tolist()) == {0.0, 6.0}  # 0.5 * 3 / 0.25
    assert float(found.mean()) == pytest.approx(1.5, abs=0.1)


def test_dare_with_all_changes_adds_them_up() -> None:
    found = merged(recipe("dare_linear", 1, 2, density=1), "a", BASE, [ONE, TWO])
    assert found.tolist() == pytest.approx([5, -4.5, 4, 5.5])


def test_dare_elects_signs_too() -> None:
    found = merged(recipe("dare_ties", 1, 1, density=1), "a", BASE, [ONE, TWO])
    assert found.tolist() == pytest.approx([2.5, -2, 3, 3.125])


def test_what_is_random_depends_on_seed_and_name_alone() -> None:
    def found(name: str, seed: int) -> list[float]:
        torch.rand(1)  # whoever else draws random numbers
        numbers = merged(recipe("dare_linear", 1, seed=seed), name, torch.zeros(64), [torch.ones(64)])
        return list(numbers.tolist())

    before = torch.random.get_rng_state()
    first = found("a", 1)
    assert first == found("a", 1)
    assert first != found("b", 1)
    assert first != found("a", 2)
    torch.random.set_rng_state(before)
    torch.rand(4)
    after = torch.random.get_rng_state()
    torch.random.set_rng_state(before)
    for name in "abcd":
        found(name, 1)
    assert torch.equal(torch.random.get_rng_state(), after)


@pytest.mark.parametrize(
    ("kind", "weights", "changed", "told"),
    [
        ("linear", (1,), {}, "linear takes at least 2"),
        ("slerp", (1, 1), {}, "slerp goes from base to 1 model, and 2 are given"),
        ("slerp", (2,), {}, "slerp takes no weight"),
        ("ties", (1, 1), {"t": 0.5}, "t is for merge_method: slerp, and that is ties"),
        ("linear", (1, 1), {"density": 0.5}, "density is for merge_method: ties"),
        ("ties", (1, 1), {"models": [{"model": "a"}, {"model": "a@latest"}]}, "a@latest is there twice"),
        ("ties", (1, 1), {"publish": {"name": "a", "adapter": True}}, "a merge makes no adapter"),
        ("ties", (1, -1), {}, "greater than 0"),
        ("ties", (1,), {"models": [{"model": "Not a name"}]}, "is not a model reference"),
    ],
)
def test_a_recipe_that_does_not_fit_its_method_is_refused(
    kind: str, weights: tuple[float, ...], changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        recipe(kind, *weights, **changed)
