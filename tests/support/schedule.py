"""How `make test` shares the tests out to its processes: which tests stay together, and which start first.

A cluster or a model that is expensive to start is a session fixture. Each process would start its own, so all
tests that use one such fixture form a group, and a group runs in one process. The tests of any other file form a group
too. Long groups start first; the short ones at the end keep all processes busy until the last minute. Within these
rules the order stays random.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

GROUPS = {
    "real": (
        "tests/clients/test_foreign_clients.py",
        "tests/clients/test_openai_python.py",
        "tests/e2e/test_demo.py",
        "tests/e2e/test_real_model.py",
    ),
    "simulated": (
        "tests/clients/test_compliance.py",
        "tests/clients/test_grpc_reflection.py",
        "tests/clients/test_lm_eval.py",
        "tests/conformance/test_conformance.py",
        "tests/deploy/test_helm_test.py",
        "tests/deploy/test_prometheus.py",
        "tests/e2e/test_accounts.py",
        "tests/e2e/test_batches.py",
        "tests/e2e/test_responses.py",
        "tests/e2e/test_simulated_cluster.py",
        "tests/e2e/test_tool_calls.py",
        "tests/fundamentals/",
    ),
    "smollm2_folder": (
        "tests/contract/test_engine.py",
        "tests/contract/test_resuming_parsers.py",
        "tests/contract/test_steps.py",
        "tests/contract/test_vllm_arguments.py",
        "tests/integration/trainer/test_packaged.py",
    ),
    "bounded_cluster": ("tests/robustness/clients/", "tests/robustness/inputs/"),
    "cluster_with_database": ("tests/robustness/ledger/", "tests/robustness/tenants/"),
    "replicated_cluster": ("tests/robustness/gateways/", "tests/robustness/router/"),
}
"""Expensive session fixtures, and the files or folders whose tests use them."""

FETCHED = ("clients", "tools", "container_tools")
"""Fixtures that need a download (`prefetch.py`). Their tests come last in their group."""


def group_of(nodeid: str) -> str:
    """The group of a test: the name of a shared fixture, or the test's own file."""
    file = nodeid.partition("::")[0]
    return next((name for name, paths in GROUPS.items() if file.startswith(paths)), file)


def check(items: Sequence[pytest.Item]) -> None:
    """Checks that the groups are complete. Every run does, because pytest-xdist does not show the error.

    Raises:
        pytest.UsageError: A test uses a shared fixture and is not in its group.
    """
    for item in items:
        if strangers := (_fixtures(item) & set(GROUPS)) - {group_of(item.nodeid)}:
            raise pytest.UsageError(f"{item.nodeid} uses {strangers}: add its file to GROUPS in {__name__}")


def sort(items: list[pytest.Item]) -> None:
    """Sorts in place: long groups first, tests that need a download last in each group."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in items:
        groups.setdefault(group_of(item.nodeid), []).append(item)
    ranked = sorted(groups.values(), key=_rank)
    items[:] = [item for group in ranked for item in sorted(group, key=_needs_download)]


def scheduler(config: pytest.Config, log: Any) -> "LoadScopeScheduling":
    """pytest-xdist's scheduler of groups, with the groups and the order of this module."""
    from xdist.scheduler import LoadScopeScheduling

    class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
        # The documented way to choose groups. `--dist loadgroup` needs no code, but with pytest 9.2 it has no effect.
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid)

    config.option.loadscopereorder = False
    return GroupScheduling(config, log)


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
