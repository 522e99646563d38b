"""How one version of a simulated model differs from others, as its config.json says."""

import json
from random import Random

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from services.worker.engine.contract import Model, SwapFailed

CONFIG_FILE = "config.json"


class VersionCosts(BaseModel):
    """The key `simulated` of config.json.

    Attributes:
        slowdown: Factor on the cost of each engine step.
        failing: Part of the requests that fail.
        acceptance: Only of speculators: the part of its draft tokens that is accepted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slowdown: float = Field(1.0, gt=0, le=1000)
    failing: float = Field(0.0, ge=0, le=1)
    acceptance: float = Field(0.7, ge=0, le=1)


class SimulatedVersion:
    """The version that the engine runs. Which requests fail is the same for each start of it."""

    def __init__(self, model: Model) -> None:
        """Raises SwapFailed when config.json has a wrong value."""
        self.model, self.costs = model, version_costs(model)
        self._random = Random(model.manifest.version)  # noqa: S311 - no secret

    def fails(self) -> bool:
        """Whether the next request fails."""
        return self._random.random() < self.costs.failing


def version_costs(model: Model) -> VersionCosts:
    """Reads config.json. Raises SwapFailed for a wrong value."""
    path = model.folder / CONFIG_FILE
    try:
        document = json.loads(path.read_bytes()) if path.exists() else {}
        return VersionCosts.model_validate(document.get("simulated", {}))
    except (OSError, ValueError, ValidationError, AttributeError) as error:
        raise SwapFailed(f"{CONFIG_FILE}: simulated: {error}", intact=True) from None
