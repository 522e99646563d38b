"""The cluster under test: a whole cluster whose processes the test itself kills and starts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.robustness.cluster_view import ClusterView
from tests.robustness.fault_injector import FaultInjector, fault_injector
from tests.support.cluster import running_cluster


@dataclass(frozen=True, slots=True)
class ClusterUnderTest:
    """A running cluster: what it shows of itself, and how to break it."""

    view: ClusterView
    injector: FaultInjector


@contextmanager
def cluster_under_test(folder: Path, config: str, *options: str) -> Iterator[ClusterUnderTest]:
    """Starts a cluster in `folder` and stops it at the end.

    It runs in the foreground, so that processes which the injector starts again are in the session of all the others,
    as they are under a supervisor. Linux divides the cores between sessions first: a worker in a session of its own
    would slow the others down.

    Args:
        folder: An empty folder for configuration, data and logs.
        config: The text of `tidegate.yaml`.
        *options: Options of `tidegate up`.
    """
    with running_cluster(folder, config, *options, foreground=True) as running, fault_injector(running) as injector:
        yield ClusterUnderTest(ClusterView.of(running), injector)
