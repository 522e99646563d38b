"""What `tidegate queue` shows fits a terminal of 80 columns, even with the longest values."""

import pytest
from rich.console import RenderableType

from services.cli.clients.queue_status import ClassPolicy, ClassStatus, PoolStatus
from services.cli.views.queue import rule_tables, status_tables
from tests.unit.cli.terminal import shown

POLICY = ClassPolicy(
    max_queued=10_000,
    max_queued_tokens=40_000_000,
    max_wait_ms=86_400_000,
    ttft_objective_ms=30_000,
    ageing_ms=500_000,
    preempts=True,
    preemptible=True,
)
CLASSES = tuple(
    ClassStatus(
        service_class=name,
        queued=10_000,
        queued_tokens=40_000_000,
        running=1_024,
        expected_wait_ms=86_400_000,
        policy=POLICY,
    )
    for name in ("priority", "default", "flex", "batch")
)
POOLS = [
    PoolStatus(pool=pool, placement="prefix", ready_workers=16, desired_workers=16, granted=4_096, classes=CLASSES)
    for pool in ("smollm2-135m-instruct", "tide")
]


@pytest.mark.parametrize("table", [status_tables(POOLS), rule_tables(POOLS)], ids=["queue", "rules"])
def test_nothing_is_cut_off_at_80_columns(table: RenderableType) -> None:
    lines = shown(table)
    assert len(lines) == 2 * (1 + 1 + len(CLASSES)) + 1
    assert not [line for line in lines if "…" in line]
    assert sum("smollm2-135m-instruct" in line for line in lines) == 1


def test_figures_are_whole() -> None:
    assert "10,000" in "".join(shown(status_tables(POOLS)))
    assert "preempts yields" in "".join(shown(rule_tables(POOLS)))
