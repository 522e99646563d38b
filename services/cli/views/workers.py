"""The workers as tables, and the adapters that they have loaded."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from itertools import groupby

from rich.console import RenderableType
from rich.table import Table

from services.cli.clients.worker_status import Worker
from services.cli.durations import words
from services.cli.views.output import build_table, titled

_COLUMNS = ("worker", "state", "version", "running", "waiting", "KV used", "reserved", "silent")
_ADAPTER_COLUMNS = ("adapter", "version", "workers")


def worker_tables(workers: list[Worker]) -> RenderableType:
    """One table for each pool, and one more where adapters are loaded. `workers` are sorted by pool."""
    if not workers:
        return "no workers"
    pools = groupby(workers, key=lambda worker: worker.pool)
    return titled(table for pool, members in pools for table in _tables(pool, list(members)))


def _tables(pool: str, workers: list[Worker]) -> Iterator[tuple[str, Table]]:
    yield pool, build_table(_COLUMNS, map(_row, workers))
    if any(worker.speculator_version for worker in workers):
        versions = [(worker.id, worker.speculator_version[:12] or "-") for worker in workers]
        yield f"{pool}: speculators", build_table(("worker", "version"), versions)
    if rows := _adapter_rows(workers):
        yield f"{pool}: adapters in memory", build_table(_ADAPTER_COLUMNS, rows)


def _adapter_rows(workers: Iterable[Worker]) -> list[tuple[str, str, str]]:
    """By name. While a version replaces another one, an adapter has two rows."""
    having: dict[tuple[str, str], list[str]] = defaultdict(list)
    for worker in workers:
        for adapter in worker.loaded_adapters:
            having[adapter.name, adapter.version].append(worker.id)
    return [(name, version[:12] or "-", ", ".join(ids)) for (name, version), ids in sorted(having.items())]


def _row(worker: Worker) -> tuple[object, ...]:
    running = f"{worker.running}/{worker.slots}"
    used, reserved = (_share(tokens, worker) for tokens in (worker.kv_tokens_used, worker.kv_tokens_reserved))
    silent = words(worker.heartbeat_age_ms)
    return (worker.id, worker.state, worker.version[:12] or "-", running, worker.waiting, used, reserved, silent)


def _share(tokens: int, worker: Worker) -> str:
    return f"{tokens / worker.kv_tokens:.0%}" if worker.kv_tokens else "-"
