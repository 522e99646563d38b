"""Distributions of lengths, as whole numbers."""

import math
from random import Random
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from loadtests.strict import Strict

LONGEST = 1_000_000

Length = Annotated[int, Field(ge=1, le=LONGEST)]


class Fixed(Strict):
    """Always the same length."""

    kind: Literal["fixed"] = "fixed"
    value: Length

    def draw(self, random: Random) -> int:
        """A random length."""
        return self.value


class Uniform(Strict):
    """All lengths from `min` to `max` are equally likely, both included."""

    kind: Literal["uniform"] = "uniform"
    min: Length
    max: Length

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        return self

    def draw(self, random: Random) -> int:
        """A random length."""
        return random.randint(self.min, self.max)


class Lognormal(Strict):
    """Like real prompts and answers: many short, few long. Drawn values are limited to min and max."""

    kind: Literal["lognormal"] = "lognormal"
    median: float = Field(ge=1, le=LONGEST)
    sigma: float = Field(gt=0, le=5, description="standard deviation of the logarithm")
    min: Length = 1
    max: Length

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.min <= self.median <= self.max:
            raise ValueError(f"min <= median <= max is required, got {self.min}, {self.median:g}, {self.max}")
        return self

    def draw(self, random: Random) -> int:
        """A random length."""
        drawn = random.lognormvariate(math.log(self.median), self.sigma)
        return int(min(max(round(drawn), self.min), self.max))


def _number_is_fixed(value: Any) -> Any:
    return {"kind": "fixed", "value": value} if isinstance(value, int) else value


Lengths = Annotated[
    Annotated[Fixed | Uniform | Lognormal, Field(discriminator="kind")], BeforeValidator(_number_is_fixed)
]
"""A plain number means a fixed length."""
