"""Steps of a canary as people write them."""

import pytest
import typer

from services.cli.steps import CanaryStep, parse_steps


def test_a_number_is_workers_and_a_percentage_is_a_share() -> None:
    assert parse_steps("1, 12.5%,100%") == (CanaryStep(workers=1), CanaryStep(share=0.125), CanaryStep(share=1.0))


@pytest.mark.parametrize("text", ["", "1,,2", "0", "0%", "101%", "1.5", "-1", "half"])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_steps(text)
