"""Shows a rollout: as a table, and while it runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from services.cli.clients import rollouts
from services.cli.clients.rollouts import Rollout, RolloutWorker

_PHASES = ("staging", "holding", "swapping", "proving", "committed")


def rollout_table(rollout: Rollout) -> Table:
    """A row for each worker, with a bar for the phase of its weight update."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.title = f"{rollout.pool}: {_state(rollout)}, {rollout.workers_at_goal} of {len(rollout.workers)} workers"
    for column in ("worker", "state", "version", "delivery", ""):
        table.add_column(column, no_wrap=True)
    for worker in rollout.workers:
        bar = ProgressBar(total=len(_PHASES), completed=_completed(rollout, worker), width=20)
        table.add_row(worker.id, worker.state, worker.version[:12] or "-", worker.phase or "waits", bar)
    return table


async def follow_rollout(routers: Sequence[str], rollout: Rollout, console: Console) -> Rollout:
    """Shows a rollout until it has ended.

    Returns:
        The rollout at its end.

    Raises:
        CommandFailed: No router answers for a long time, or another rollout of the pool has started.
    """
    with _progress(console, rollout) as changed:
        return await rollouts.follow(routers, rollout, changed)


@contextmanager
def _progress(console: Console, rollout: Rollout) -> Iterator[Callable[[Rollout], None]]:
    """A table that changes on a terminal; elsewhere a line for each change."""
    if console.is_terminal:
        with Live(rollout_table(rollout), console=console, transient=True, refresh_per_second=8) as live:
            yield lambda now: live.update(rollout_table(now))
        return
    printed = set(_lines(rollout))

    def print_new_lines(now: Rollout) -> None:
        for line in _lines(now):
            if line not in printed:
                console.print(line, markup=False)
                printed.add(line)

    yield print_new_lines


def _lines(rollout: Rollout) -> list[str]:
    phases = [f"{worker.id}: {worker.phase} {worker.reason}".rstrip() for worker in rollout.workers if worker.phase]
    return [*phases, f"{rollout.pool}: {_state(rollout)}"]


def _state(rollout: Rollout) -> str:
    """A worker that refuses a version has changed nothing: then there is nothing to undo."""
    if rollout.state == "undoing" and rollout.workers_at_goal == len(rollout.workers):
        return "refused, no worker has changed"
    return rollout.state


def _completed(rollout: Rollout, worker: RolloutWorker) -> int:
    if worker.version == rollout.goal:
        return len(_PHASES)
    return _PHASES.index(worker.phase) if worker.phase in _PHASES else 0
