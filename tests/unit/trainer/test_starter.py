"""The recipe that `tidegate train init` writes."""

import pytest
import yaml

from trainer.recipe_file import METHODS, parse
from trainer.starter import starter


@pytest.mark.parametrize("method", METHODS)
def test_it_is_a_recipe_that_explains_every_key(method: str) -> None:
    text = starter(method)
    recipe = parse(yaml.safe_load(text))
    assert recipe.method == method
    for name in METHODS[method].model_fields:
        assert f"\n{name}:" in text or f"\n#{name}:" in text


@pytest.mark.parametrize("part", ["adapter", "gate", "publish"])
def test_its_parts_are_right_when_the_hash_is_taken_away(part: str) -> None:
    lines = starter("sft").split("\n")
    first = lines.index(f"#{part}:")
    last = next(place for place in range(first + 1, len(lines)) if not lines[place].startswith("#  "))
    whole = [*lines[:first], *(line[1:] for line in lines[first:last]), *lines[last:]]
    assert getattr(parse(yaml.safe_load("\n".join(whole))), part) is not None
