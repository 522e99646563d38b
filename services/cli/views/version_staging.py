"""Shows how far the workers of a pool are that stage a version: as a table, and while it goes on."""

from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.live import Live
from rich.table import Table

from services.cli.clients import version_staging
from services.cli.clients.version_staging import Staging, StagingWorker
from services.cli.views.output import build_table

_COLUMNS = ("worker", "state", "staged", "", "reason")


def staging_table(staging: Staging) -> Table:
    """A row for each worker."""
    rows = (
        (worker.id, worker.state, _bytes(worker), worker.phase or "waits", worker.reason) for worker in staging.workers
    )
    table = build_table(_COLUMNS, rows)
    there = sum(worker.phase == "staged" for worker in staging.workers)
    table.title = f"{staging.pool}: {staging.version[:12]} is staged on {there} of {len(staging.workers)} workers"
    return table


async def follow_staging(routers: Sequence[str], staging: Staging, console: Console) -> Staging:
    """Shows a stage until it has ended: a table that changes on a terminal; elsewhere a line for each worker that ends.

    Raises:
        CommandFailed: As `version_staging.follow`.
    """
    if console.is_terminal:
        with Live(staging_table(staging), console=console, transient=True, refresh_per_second=4) as live:
            return await version_staging.follow(routers, staging, lambda now: live.update(staging_table(now)))
    told: set[str] = set()

    def tell(now: Staging) -> None:
        for worker in now.workers:
            if worker.has_ended and worker.id not in told:
                told.add(worker.id)
                console.print(f"{worker.id}: {worker.phase} {worker.reason}".rstrip(), markup=False)

    return await version_staging.follow(routers, staging, tell)


def _bytes(worker: StagingWorker) -> str:
    if not worker.total_bytes:
        return "-"
    return f"{decimal(worker.staged_bytes)} of {decimal(worker.total_bytes)}"
