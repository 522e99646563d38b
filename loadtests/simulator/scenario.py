"""A scenario: the simulated fleet and its traffic, in one YAML file."""

from pathlib import Path
from typing import Literal, Self

import yaml
from pydantic import Field, model_validator

from loadtests.lengths import Fixed, Lengths
from loadtests.profile import Chats, Objectives, Prefixes
from loadtests.simulator.ask import BLOCK_TOKENS
from loadtests.strict import Strict
from services.shared.class_policy import ClassPolicy
from services.shared.config import Cluster, Pool
from services.shared.engine_settings import SimulatedEngine
from services.shared.settings import WrongSettings, check
from services.shared.tier import Tier


class ClassTraffic(Strict):
    """The traffic of one class."""

    weight: float = Field(1.0, gt=0, description="share of the conversations, against the other classes' weights")
    objectives: Objectives = Objectives()


class Flood(Strict):
    """The first tenant sends this many times its share, all through the run."""

    times: float = Field(50.0, gt=1, le=10_000)


class Scenario(Strict):
    """A fleet and its traffic."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    seed: int = 0
    duration_s: float = Field(gt=0, le=86_400, description="in which requests arrive")
    warmup_s: float = Field(0.0, ge=0, description="of it, in which nothing is counted yet")
    workers: int = Field(ge=1, le=100_000)
    engine: SimulatedEngine = Field(default_factory=lambda: SimulatedEngine(block_tokens=BLOCK_TOKENS))
    policies: dict[Tier, ClassPolicy] = Field(default_factory=dict, description="classes, as in tidegate.yaml")
    arrivals: Literal["poisson", "bursty"] = "poisson"
    burstiness: float = Field(0.3, gt=0, le=100, description="of bursty arrivals: shape of the gamma gaps")
    classes: dict[Tier, ClassTraffic] = Field(min_length=1)
    tenants: int = Field(1, ge=1, le=100_000, description="that send alike")
    flood: Flood | None = None
    prompt_tokens: Lengths = Field(description="of each turn of the user")
    output_tokens: Lengths
    expected_output_tokens: int = Field(256, ge=1, description="what the gateway reckons with")
    prefixes: Prefixes | None = Field(None, description="system prompts; every tenant has its own")
    chats: Chats = Chats(turns=Fixed(value=1))
    network_ms: float = Field(1.0, ge=0, description="from a grant to its worker")
    heartbeat_ms: int = Field(1000, ge=10)
    upkeep_ms: int = Field(250, ge=10)

    @model_validator(mode="after")
    def _blocks_are_those_of_the_traffic(self) -> Self:
        if self.engine.block_tokens != BLOCK_TOKENS:
            raise ValueError(
                f"engine.block_tokens is {self.engine.block_tokens}; traffic comes in blocks of {BLOCK_TOKENS}"
            )
        if self.engine.kv_tokens < self.engine.context_tokens:
            raise ValueError(f"engine.kv_tokens is {self.engine.kv_tokens}: less than context_tokens")
        if self.warmup_s >= self.duration_s:
            raise ValueError(f"warmup_s is {self.warmup_s}: not less than duration_s")
        return self

    def cluster(self, placement: Literal["prefix", "least_load", "round_robin"]) -> Cluster:
        """The same fleet as tidegate.yaml would describe it."""
        pool = Pool(
            name=self.name, model=self.name, workers=min(self.workers, 4096), engine=self.engine, placement=placement
        )
        return Cluster(pools=(pool,), classes=self.policies)


def load(path: Path) -> Scenario:
    """Reads a scenario. Raises WrongSettings; it names file, key and value."""
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise WrongSettings(f"{path}: {error}") from None
    return check(Scenario, document, lambda key: f"{path}: {key}")
