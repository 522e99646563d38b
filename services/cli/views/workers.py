"""The workers as tables."""

from itertools import groupby

from rich.console import RenderableType

from services.cli.clients.worker_status import Worker
from services.cli.durations import words
from services.cli.views.output import build_table, titled

_COLUMNS = ("worker", "state", "version", "running", "waiting", "KV used", "reserved", "silent")


def worker_tables(workers: list[Worker]) -> RenderableType:
    """One table for each pool. `workers` are sorted by pool."""
    if not workers:
        return "no workers"
    pools = groupby(workers, key=lambda worker: worker.pool)
    return titled((pool, build_table(_COLUMNS, map(_row, members))) for pool, members in pools)


def _row(worker: Worker) -> tuple[object, ...]:
    running = f"{worker.running}/{worker.slots}"
    used, reserved = (_share(tokens, worker) for tokens in (worker.kv_tokens_used, worker.kv_tokens_reserved))
    silent = words(worker.heartbeat_age_ms)
    return (worker.id, worker.state, worker.version[:12] or "-", running, worker.waiting, used, reserved, silent)


def _share(tokens: int, worker: Worker) -> str:
    return f"{tokens / worker.kv_tokens:.0%}" if worker.kv_tokens else "-"
