"""A load profile: a YAML file with the requests, their times, their tiers and their latency objectives."""

from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import Field, model_validator

from loadtests.arrivals import Arrivals, Ramp, mean_rate
from loadtests.events import Event
from loadtests.lengths import Fixed, Lengths
from loadtests.strict import Strict
from services.shared.settings import WrongSettings, check

MAX_REQUESTS = 1_000_000

Milliseconds = Annotated[float, Field(gt=0)]
TierName = Literal["auto", "default", "flex", "priority"]


class Objectives(Strict):
    """Latency objectives, counted from the moment when a request was due. An objective that is absent is always met."""

    ttft_ms: Milliseconds | None = Field(None, description="time to first token; streamed answers only")
    tpot_ms: Milliseconds | None = Field(None, description="time per output token; streamed answers only")
    e2e_ms: Milliseconds | None = Field(None, description="time to the end of the answer")


class Tier(Strict):
    """Requests of one service tier. Lengths that are not given are those of the profile."""

    weight: float = Field(
        1.0, gt=0, description="share of the conversations, relative to the weights of the other tiers"
    )
    objectives: Objectives = Objectives()
    prompt_tokens: Lengths | None = None
    output_tokens: Lengths | None = None


class Prefixes(Strict):
    """System prompts that several conversations share."""

    count: int = Field(ge=1, le=100_000, description="number of different prefixes")
    tokens: Lengths
    share: float = Field(1.0, ge=0, le=1, description="share of conversations that begin with a prefix")
    zipf: float = Field(
        0.0, ge=0, le=5, description="popularity of the n-th prefix is n^-zipf; 0: all are equally popular"
    )


class Chats(Strict):
    """Conversations of several turns.

    Earlier turns, with their answers, are scripted, so the load does not depend on the server's answers.
    """

    turns: Lengths = Fixed(value=1)
    think_s: float = Field(
        5.0, ge=0, le=3600, description="least seconds from the due time of a turn to that of the next turn"
    )


class Profile(Strict):
    """The whole file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: int = 0
    duration_s: float = Field(gt=0, le=86_400)
    arrivals: Arrivals
    tiers: dict[TierName, Tier] = Field(min_length=1)
    prompt_tokens: Lengths = Field(description="length of each user message in tokens; a token is about one short word")
    output_tokens: Lengths
    streamed: float = Field(1.0, ge=0, le=1, description="share of the requests that are streamed")
    prefixes: Prefixes | None = None
    chats: Chats = Chats()
    ignore_eos: bool = Field(
        True, description="answers have exactly the planned length; false for servers that refuse the field"
    )
    events: list[Event] = Field(
        default_factory=list, max_length=100, description="events that act on the local cluster during the run"
    )
    timeout_s: float = Field(60.0, gt=0, le=3600, description="seconds from sending to the end of the answer")
    max_in_flight: int = Field(512, ge=1, le=20_000)
    send_within_s: float = Field(
        1.0, gt=0, le=60, description="seconds after its due time in which a request must be sent; later it is not sent"
    )

    @model_validator(mode="after")
    def _is_bounded(self) -> Self:
        requests = mean_rate(self.arrivals) * self.duration_s
        if requests > MAX_REQUESTS:
            raise ValueError(f"rate times duration_s is {requests:.0f} requests; at most {MAX_REQUESTS} are allowed")
        return self

    def with_changes(self, *, rate: float | None, duration_s: float | None, seed: int | None) -> "Profile":
        """Applies the options of the command line.

        Raises:
            WrongSettings: An option is wrong or does not fit the profile.
        """
        changes: dict[str, object] = {"duration_s": duration_s, "seed": seed}
        if rate is not None:
            if isinstance(self.arrivals, Ramp):
                raise WrongSettings(f"--rate = {rate:g}: {self.name} ramps between two rates; change its profile")
            changes["arrivals"] = {**self.arrivals.model_dump(), "rate": rate}
        given = {key: value for key, value in changes.items() if value is not None}
        return check(Profile, {**self.model_dump(), **given}, lambda key: f"--{key.removesuffix('_s')}")


def load(path: Path) -> Profile:
    """Reads a profile.

    Raises:
        WrongSettings: Names file, key and value.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise WrongSettings(f"{path}: {error}") from None
    return check(Profile, document, lambda key: f"{path}: {key}")
