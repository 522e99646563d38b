"""report.json: all results of a run."""

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
    """One kind of failure, and how often it happened."""

    outcome: str
    detail: str
    count: int


class ClientCost(Strict):
    """What the load generator itself used. Near one full core, its latencies are not reliable."""

    cpu_s: float
    cpu_us_per_event: float | None = Field(description="CPU of the whole process in microseconds per streamed event")
    connections: int
    resent: int = Field(description="requests that were sent again because the server closed a kept connection")


class Report(Strict):
    """The whole file."""

    schema_version: Literal[1] = 1
    started_at: str = Field(description="ISO 8601, UTC")
    base_url: str
    model: str
    profile: Profile = Field(description="the profile with the options of the command line applied")
    stopped_early: bool
    elapsed_s: float = Field(
        description="seconds from the start to the end of the last answer; rates refer to this time"
    )
    client: ClientCost
    total: Figures
    tiers: dict[str, Figures]
    troubles: list[Trouble]
    series: Series

    @property
    def unexpected(self) -> int:
        """Requests that were neither answered nor refused with Retry-After."""
        return sum(count for kind, count in self.total.outcomes.items() if kind not in EXPECTED)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reads a report. `path` is the file or its folder.

        Raises:
            WrongSettings: The file cannot be read, or has another schema version.
        """
        file = path / FILE if path.is_dir() else path
        try:
            document = orjson.loads(file.read_bytes())
        except (OSError, orjson.JSONDecodeError) as error:
            raise WrongSettings(f"{file}: {error}") from None
        return check(cls, document, lambda key: f"{file}: {key}")

    def write(self, folder: Path) -> Path:
        """Writes the file into `folder`; returns its path."""
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
    """Builds the report of a run. `started` is in Unix seconds."""
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
    """Seconds from the start to the end of the last answer, at least `at_least_s`."""
    ends = (sample.ended_s or sample.due_s for sample in samples)
    return max(at_least_s, *ends, 0.001) if samples else max(at_least_s, 0.001)


def troubles(samples: Sequence[Sample]) -> list[Trouble]:
    """The most frequent failures first, at most MAX_TROUBLES."""
    found = Counter((sample.outcome.value, sample.detail) for sample in samples if not sample.ok)
    return [
        Trouble(outcome=outcome, detail=detail, count=count)
        for (outcome, detail), count in found.most_common(MAX_TROUBLES)
    ]
