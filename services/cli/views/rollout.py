"""Shows a rollout: as a table, and while it runs."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from services.cli.clients import rollouts
from services.cli.clients.rollouts import Rollout, RolloutEvent, RolloutWorker
from services.cli.views.output import build_table

_PHASES = ("staging", "holding", "swapping", "proving", "committed")


def rollout_table(rollout: Rollout) -> Table:
    """A row for each worker, with a bar for the phase of its weight update."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    of = f"{rollout.pool}, speculator" if rollout.speculator else rollout.pool
    table.title = f"{of}: {_state(rollout)}, {rollout.workers_at_goal} of {len(rollout.workers)} workers"
    table.caption = _caption(rollout) or None
    for column in ("worker", "state", "version", "delivery", ""):
        table.add_column(column, no_wrap=True)
    for worker in rollout.workers:
        bar = ProgressBar(total=len(_PHASES), completed=_completed(rollout, worker), width=20)
        table.add_row(worker.id, worker.state, worker.version[:12] or "-", worker.phase or "waits", bar)
    return table


def history_table(events: Sequence[RolloutEvent]) -> Table:
    """A row for each event, oldest first. Times are local."""
    rows = (
        (
            datetime.fromtimestamp(event.at).astimezone().isoformat(" ", "seconds"),
            event.pool,
            event.event.replace("_", " "),
            f"{event.policy} {event.step}" if event.step else event.policy,
            event.mode.replace("_", " ") or "-",
            event.version[:12],
            event.previous[:12] or "-",
            event.who or "-",
            event.why,
        )
        for event in events
    )
    return build_table(("time", "pool", "event", "policy", "mode", "version", "before", "who", "why"), rows)


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
    if rollout.state != "rolling":
        return rollout.state
    step = rollout.step
    said = [f"{rollout.policy}, step {step.number} of {step.count + 1}" if step else "rolling"]
    if rollout.policy == "all_at_once":
        over = rollout.admitted == rollout.version
        said = ["all at once, requests start on the new version" if over else "all at once, not changed over yet"]
    if rollout.paused_by:
        said.append(f"paused by {rollout.paused_by}")
    return ", ".join(said)


def _caption(rollout: Rollout) -> str:
    """What happens to requests that run, what the rollout waits for, what the gate says, and who started it."""
    lines = []
    if rollout.mode and not rollout.speculator:
        lines.append(f"requests that run: {rollout.mode.replace('_', ' ')}")
    if rollout.step and rollout.step.hold_left and rollout.state == "rolling":
        lines.append(f"holds for {rollout.step.hold_left:.0f} s")
    if rollout.gate:
        lines.append(f"gate: {rollout.gate.decision}, {rollout.gate.reason}")
    if started_by := ": ".join(filter(None, (rollout.who, rollout.why))):
        lines.append(f"started by {started_by}")
    return "\n".join(lines)


def _completed(rollout: Rollout, worker: RolloutWorker) -> int:
    if worker.version == rollout.goal:
        return len(_PHASES)
    return _PHASES.index(worker.phase) if worker.phase in _PHASES else 0
