"""When requests are due: arrival processes. All times are drawn before the first request is sent."""

import math
from collections.abc import Iterator
from itertools import accumulate, count, takewhile
from random import Random
from typing import Annotated, Literal

from pydantic import Field

from loadtests.strict import Strict

Rate = Annotated[float, Field(gt=0, le=100_000, description="requests per second")]


class Poisson(Strict):
    """Independent users: the gaps between requests are exponential."""

    process: Literal["poisson"] = "poisson"
    rate: Rate


class Constant(Strict):
    """Equal gaps."""

    process: Literal["constant"] = "constant"
    rate: Rate


class Bursty(Strict):
    """Gamma gaps with the same mean. Their squared coefficient of variation is 1 / burstiness."""

    process: Literal["bursty"] = "bursty"
    rate: Rate
    burstiness: float = Field(
        gt=0, le=100, description="shape of the gamma distribution: 1 is Poisson; the nearer to 0, the burstier"
    )


class Ramp(Strict):
    """Poisson arrivals whose rate changes linearly from one value to the other."""

    process: Literal["ramp"] = "ramp"
    from_rate: float = Field(ge=0, le=100_000, description="requests per second at the start")
    to_rate: Rate


Arrivals = Annotated[Poisson | Constant | Bursty | Ramp, Field(discriminator="process")]


def mean_rate(arrivals: Arrivals) -> float:
    """Mean requests per second over the whole duration."""
    return (arrivals.from_rate + arrivals.to_rate) / 2 if isinstance(arrivals, Ramp) else arrivals.rate


def schedule(arrivals: Arrivals, duration_s: float, random: Random) -> list[float]:
    """Due times in seconds from the start: in [0, duration_s), ascending."""
    return list(takewhile(lambda due: due < duration_s, _times(arrivals, duration_s, random)))


def _times(arrivals: Arrivals, duration_s: float, random: Random) -> Iterator[float]:
    match arrivals:
        case Constant(rate=rate):
            return (index / rate for index in count())
        case Poisson(rate=rate):
            return accumulate(random.expovariate(rate) for _ in count())
        case Bursty(rate=rate, burstiness=shape):
            return accumulate(random.gammavariate(shape, 1 / (shape * rate)) for _ in count())
        case Ramp():
            return _ramp(arrivals, duration_s, random)


def _ramp(ramp: Ramp, duration_s: float, random: Random) -> Iterator[float]:
    """Unit-rate Poisson times through the inverse of the cumulative rate a t + (b - a) t^2 / 2D (Cinlar 1975)."""
    a, slope = ramp.from_rate, (ramp.to_rate - ramp.from_rate) / duration_s
    for cumulated in accumulate(random.expovariate(1.0) for _ in count()):
        discriminant = a * a + 2 * slope * cumulated
        if discriminant < 0:  # a falling ramp ends before this one is due
            return
        yield 2 * cumulated / (a + math.sqrt(discriminant))
