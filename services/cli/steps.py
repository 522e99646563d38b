"""Steps of a canary as people write them: 1,10%,50%. A number is so many workers, a percentage so much of the pool."""

import re

import typer
from pydantic import BaseModel, ConfigDict

_PATTERN = re.compile(r"(\d+(?:\.\d+)?)(%?)")


class CanaryStep(BaseModel):
    """One step. `workers` is 0 if the step is a `share`, between 0 and 1."""

    model_config = ConfigDict(frozen=True)

    workers: int = 0
    share: float = 0.0


def parse_steps(text: str) -> tuple[CanaryStep, ...]:
    """Parses steps.

    Raises:
        typer.BadParameter: `text` is no list of steps.
    """
    return tuple(_step(part.strip()) for part in text.split(","))


def _step(text: str) -> CanaryStep:
    match = _PATTERN.fullmatch(text)
    if match is None:
        raise typer.BadParameter(f"{text!r} is no step: write workers or shares of the pool, such as 1,10%,50%")
    if match[2]:
        if not 0 < (share := float(match[1]) / 100) <= 1:
            raise typer.BadParameter(f"{text!r} is no share of the pool: more than 0%, at most 100%")
        return CanaryStep(share=share)
    if "." in match[1] or not int(match[1]):
        raise typer.BadParameter(f"{text!r} is no number of workers; a share of the pool has a %")
    return CanaryStep(workers=int(match[1]))
