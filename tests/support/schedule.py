"""How pytest-xdist shares the tests out: which tests stay together in one process, and which start first.

A cluster or a model that is expensive to start is a session fixture. Two processes would each start their own, so all
tests that use one such fixture form a group, and a group runs in one process. All other tests of a file form a group.
Long groups start first; the short ones at the end keep both processes busy until the last minute. Within these rules
the order stays random.
"""

from collections.abc import Sequence

import pytest

SHARED = ("real", "simulated", "smollm2_folder", "cluster_with_database", "replicated_cluster")
"""Session fixtures that are expensive, the most expensive first: a test that uses two of them counts for the first."""

FETCHED = ("clients", "tools", "container_tools")
"""Fixtures that need a download (`prefetch.py`). Their tests come last in their group."""


def group_of(item: pytest.Item) -> str:
    """The name of the group: a shared fixture, or the test's own file."""
    fixtures = _fixtures(item)
    return next((name for name in SHARED if name in fixtures), item.nodeid.partition("::")[0])


def sort(items: list[pytest.Item]) -> None:
    """Sorts in place: groups in the order of their rank, tests with downloads last in each group."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(item), []).append(item)
    ranked = sorted(groups.values(), key=_rank)
    items[:] = [item for group in ranked for item in sorted(group, key=_needs_download)]


def _rank(group: Sequence[pytest.Item]) -> int:
    """Real models first, then clusters and other slow tests, then everything else."""
    if any(item.get_closest_marker("vllm") for item in group):
        return 0
    slow = any(item.get_closest_marker(name) for item in group for name in ("cluster", "slow"))
    return 1 if slow or any(map(_needs_download, group)) else 2


def _needs_download(item: pytest.Item) -> bool:
    return not _fixtures(item).isdisjoint(FETCHED)


def _fixtures(item: pytest.Item) -> set[str]:
    return set(item.fixturenames) if isinstance(item, pytest.Function) else set()
