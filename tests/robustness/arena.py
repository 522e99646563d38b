"""Where drills take place: a whole cluster, its processes in our own hands."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.fault_injector import FaultInjector, crew
from tests.robustness.view import View
from tests.support.cluster import running_cluster


@dataclass(frozen=True, slots=True)
class Arena:
    view: View
    crew: FaultInjector


@contextmanager
def arena(folder: Path, config: str, *options: str) -> Iterator[Arena]:
    """config: tidegate.yaml; options: of `tidegate up`.

    In the foreground, so that what the crew starts again is in the session of the rest, as it is with a supervisor:
    Linux shares out the cores between sessions first, and a worker of another one would keep the others waiting.
    """
    with running_cluster(folder, config, *options, foreground=True) as cluster:
        view = View.of(cluster)
        with crew(cluster) as mine:
            yield Arena(view, mine)
