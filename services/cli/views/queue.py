"""The queues and their rules as tables."""

from collections.abc import Callable

from rich.console import Group
from rich.table import Table

from services.cli.clients.queue_status import ClassPolicy, ClassStatus, PoolStatus
from services.cli.durations import words
from services.cli.views.output import build_table, titled

_STATUS_COLUMNS = ("queued", "tokens", "running", "new one waits")
_RULE_COLUMNS = ("may queue", "tokens", "may wait", "objective", "ageing", "preemption")


def status_tables(pools: list[PoolStatus]) -> Group:
    """For each pool a table with what waits and runs in each class."""
    return _by_pool(pools, _STATUS_COLUMNS, _status)


def rule_tables(pools: list[PoolStatus]) -> Group:
    """For each pool a table with the rules of each class."""
    return _by_pool(pools, _RULE_COLUMNS, lambda service_class: _rules(service_class.policy))


def policy_table(service_class: str, policy: ClassPolicy) -> Table:
    """The rules of one class."""
    return build_table(("class", *_RULE_COLUMNS), [(service_class, *_rules(policy))])


def _by_pool(
    pools: list[PoolStatus], columns: tuple[str, ...], cells: Callable[[ClassStatus], tuple[str, ...]]
) -> Group:
    def table(pool: PoolStatus) -> Table:
        return build_table(("class", *columns), ((each.service_class, *cells(each)) for each in pool.classes))

    return titled((_title(pool), table(pool)) for pool in pools)


def _title(pool: PoolStatus) -> str:
    return f"{pool.pool}: {pool.ready_workers} workers ready, {pool.desired_workers} wanted, placement {pool.placement}"


def _status(status: ClassStatus) -> tuple[str, ...]:
    wait = words(status.expected_wait_ms) if status.queued or status.expected_wait_ms else "-"
    return (f"{status.queued:,}", f"{status.queued_tokens:,}", f"{status.running:,}", wait)


def _rules(policy: ClassPolicy) -> tuple[str, ...]:
    preemption = ("preempts " if policy.preempts else "") + ("yields" if policy.preemptible else "")
    return (
        f"{policy.max_queued:,}",
        f"{policy.max_queued_tokens:,}",
        words(policy.max_wait_ms),
        words(policy.ttft_objective_ms),
        words(policy.ageing_ms) if policy.ageing_ms else "never",
        preemption.strip() or "-",
    )
