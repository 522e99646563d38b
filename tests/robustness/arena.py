"""Where drills take place: a whole cluster, its processes in our own hands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.crew import Crew, crew
from tests.robustness.view import View
from tests.support.cluster import running_cluster


@dataclass(frozen=True, slots=True)
class Arena:
    view: View
    crew: Crew


@contextmanager
def arena(folder: Path, config: str, *options: str) -> Iterator[Arena]:
    """config: tidegate.yaml; options: of `tidegate up`."""
    with running_cluster(folder, config, *options) as cluster:
        view = View.of(cluster)
        with crew(cluster) as mine:
            yield Arena(view, mine)
