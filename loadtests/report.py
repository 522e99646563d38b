"""report.json: everything that a run found, with a version of its schema."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

import orjson
from pydantic import Field

from loadtests.figures import Figures, figures
from loadtests.profile import Profile
from loadtests.sample import EXPECTED, Sample
from loadtests.series import Series, series
from loadtests.strict import Strict
from services.shared.settings import WrongSettings, check

FILE = "report.json"
MAX_TROUBLES = 20


class Trouble(Strict):
    """One thing that went wrong, and how often."""

    outcome: str
    detail: str
    count: int


class ClientCost(Strict):
    """What the load client itself needed: where this is near a whole core, its latencies are not to be trusted."""

    cpu_s: float
    cpu_us_per_event: float | None = Field(description="process CPU per streamed event, everything included")
    connections: int
    resent: int = Field(description="sent again at once: a kept connection was closed before it said anything")


class Report(Strict):
    schema_version: Literal[1] = 1
    started_at: str = Field(description="ISO 8601, UTC")
    base_url: str
    model: str
    profile: Profile = Field(description="as it was run: with the command line's changes")
    stopped_early: bool
    elapsed_s: float = Field(description="from the start to the end of the last answer; rates are over this")
    client: ClientCost
    total: Figures
    tiers: dict[str, Figures]
    troubles: list[Trouble]
    series: Series

    @property
    def unexpected(self) -> int:
        """Requests that neither were answered nor refused as they should be."""
        return sum(count for kind, count in self.total.outcomes.items() if kind not in EXPECTED)

    @classmethod
    def read(cls, path: Path) -> Self:
        """`path`: the file or its folder. Raises WrongSettings, also for another version of the schema."""
        file = path / FILE if path.is_dir() else path
        try:
            document = orjson.loads(file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise WrongSettings(f"{file}: {error}") from None
        return check(cls, document, lambda key: f"{file}: {key}")

    def write(self, folder: Path) -> Path:
        file = folder / FILE
        file.write_bytes(orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        return file


def report(
    samples: Sequence[Sample],
    profile: Profile,
    client: ClientCost,
    *,
    base_url: str,
    model: str,
    started: float,
    stopped_early: bool,
) -> Report:
    """started: seconds since 1970."""
    elapsed_s = elapsed(samples, 0.0 if stopped_early else profile.duration_s)
    objectives = {str(name): tier.objectives for name, tier in profile.tiers.items()}
    return Report(
        started_at=datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds"),
        base_url=base_url,
        model=model,
        profile=profile,
        stopped_early=stopped_early,
        elapsed_s=elapsed_s,
        client=client,
        total=figures(samples, objectives, elapsed_s),
        tiers={
            name: figures([sample for sample in samples if sample.tier == name], objectives, elapsed_s)
            for name in objectives
        },
        troubles=troubles(samples),
        series=series(samples, elapsed_s),
    )


def elapsed(samples: Sequence[Sample], at_least_s: float) -> float:
    ends = (sample.ended_s or sample.due_s for sample in samples)
    return max(at_least_s, *ends, 0.001) if samples else max(at_least_s, 0.001)


def troubles(samples: Sequence[Sample]) -> list[Trouble]:
    """The commonest first, MAX_TROUBLES at most."""
    found = Counter((sample.outcome.value, sample.detail) for sample in samples if not sample.ok)
    return [
        Trouble(outcome=outcome, detail=detail, count=count)
        for (outcome, detail), count in found.most_common(MAX_TROUBLES)
    ]
