"""Watching a rollout until it has ended."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc
from pydantic import BaseModel, ConfigDict

from services.cli.control_client import ASK_LIMIT_S, NoRouter, ask
from services.cli.errors import CommandFailed
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

EVERY_S = 0.25
SILENCE_S = 30.0
"""Routers may restart meanwhile; after so long without any the command gives up, not the rollout."""


class Worker(BaseModel):
    model_config = ConfigDict(frozen=True)

    id: str
    state: str
    version: str
    phase: str
    reason: str

    @classmethod
    def of(cls, worker: pb.RolloutWorker) -> "Worker":
        return cls(
            id=worker.worker_id,
            state=pb.WorkerState.Name(worker.state).removeprefix("WORKER_STATE_").lower(),
            version=worker.model_version,
            phase=_phase(worker.delivery.phase) if worker.HasField("delivery") else "",
            reason=worker.delivery.reason,
        )


class Rollout(BaseModel):
    """state: rolling, undoing, done or failed. started, ended: Unix seconds."""

    model_config = ConfigDict(frozen=True)

    id: str
    pool: str
    version: str
    previous: str
    state: str
    reason: str
    started: float
    ended: float | None
    workers: tuple[Worker, ...]

    @classmethod
    def of(cls, rollout: pb.Rollout) -> "Rollout":
        return cls(
            id=rollout.rollout_id,
            pool=rollout.pool,
            version=rollout.model_version,
            previous=rollout.previous_version,
            state=pb.RolloutState.Name(rollout.state).removeprefix("ROLLOUT_STATE_").lower(),
            reason=rollout.reason,
            started=rollout.started_ms / 1000,
            ended=rollout.ended_ms / 1000 if rollout.ended_ms else None,
            workers=tuple(sorted(map(Worker.of, rollout.workers), key=lambda worker: worker.id)),
        )

    @property
    def goal(self) -> str:
        return self.version if self.state in ("rolling", "done") else self.previous

    @property
    def there(self) -> int:
        """Workers that serve what they are to serve."""
        return sum(worker.version == self.goal for worker in self.workers)

    def check(self) -> None:
        """Raises CommandFailed for one that failed."""
        if self.state in ("undoing", "failed"):
            now = f"{self.there} of {len(self.workers)} workers serve {self.previous[:12] or 'no version'}"
            raise CommandFailed(f"the rollout of {self.version[:12]} failed: {self.reason}\n{now}")


async def start(routers: Sequence[str], pool: str, version: str, finish_s: float | None) -> Rollout:
    request = pb.StartRolloutRequest(
        pool=pool, model_version=version, finish_timeout_ms=max(1, int(finish_s * 1000)) if finish_s is not None else 0
    )
    answer = await ask(routers, lambda stub: stub.StartRollout(request, timeout=ASK_LIMIT_S))
    return Rollout.of(answer.rollout)


async def stop(routers: Sequence[str], pool: str) -> Rollout:
    request = pb.StopRolloutRequest(pool=pool)
    return Rollout.of((await ask(routers, lambda stub: stub.StopRollout(request, timeout=ASK_LIMIT_S))).rollout)


async def last(routers: Sequence[str], pool: str) -> Rollout:
    request = pb.GetRolloutRequest(pool=pool)
    return Rollout.of((await ask(routers, lambda stub: stub.GetRollout(request, timeout=ASK_LIMIT_S))).rollout)


async def find(routers: Sequence[str], pool: str) -> Rollout | None:
    """The last one; None when there was none."""

    async def question(stub: ControlServiceStub) -> pb.Rollout | None:
        try:
            return (await stub.GetRollout(pb.GetRolloutRequest(pool=pool), timeout=ASK_LIMIT_S)).rollout
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return None
            raise

    found = await ask(routers, question)
    return Rollout.of(found) if found else None


async def follow(routers: Sequence[str], rollout: Rollout, console: "Console") -> Rollout:
    """Shows it until it has ended; returns how.

    Raises CommandFailed when no router answers for SILENCE_S, or when the pool has another rollout by then.
    """
    heard_at, followed = _now(), rollout.id
    with _shown(console, rollout) as show:
        while rollout.ended is None:
            await asyncio.sleep(EVERY_S)
            try:
                rollout, heard_at = await last(routers, rollout.pool), _now()
            except NoRouter:
                if _now() - heard_at > SILENCE_S:
                    raise
            if rollout.id != followed:
                raise CommandFailed(f"{rollout.pool} has another rollout by now, to {rollout.version[:12]}")
            show(rollout)
    return rollout


@contextmanager
def _shown(console: "Console", rollout: Rollout) -> Iterator[Callable[[Rollout], None]]:
    """A table that lives on a terminal; elsewhere a line for each thing that happens."""
    from rich.live import Live

    if console.is_terminal:
        with Live(table(rollout), console=console, transient=True, refresh_per_second=8) as live:
            yield lambda now: live.update(table(now))
        return
    seen = set(_happened(rollout))

    def show(now: Rollout) -> None:
        for line in _happened(now):
            if line not in seen:
                console.print(line, markup=False)
                seen.add(line)

    yield show


def _happened(rollout: Rollout) -> list[str]:
    phases = [f"{worker.id}: {worker.phase} {worker.reason}".rstrip() for worker in rollout.workers if worker.phase]
    return [*phases, f"{rollout.pool}: {rollout.state}"]


def table(rollout: Rollout) -> "Table":
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    shown = Table(box=None, header_style="bold", pad_edge=False)
    shown.title = f"{rollout.pool}: {rollout.state}, {rollout.there} of {len(rollout.workers)} workers"
    for column in ("worker", "state", "version", "delivery", ""):
        shown.add_column(column, no_wrap=True)
    for worker in rollout.workers:
        bar = ProgressBar(total=len(_STEPS), completed=_completed(rollout, worker), width=20)
        shown.add_row(worker.id, worker.state, worker.version[:12] or "-", worker.phase or "waits", bar)
    return shown


_STEPS = ("staging", "holding", "swapping", "proving", "committed")


def _completed(rollout: Rollout, worker: Worker) -> int:
    if worker.version == rollout.goal:
        return len(_STEPS)
    return _STEPS.index(worker.phase) if worker.phase in _STEPS else 0


def _phase(phase: "pb.DeliveryPhase.ValueType") -> str:
    return pb.DeliveryPhase.Name(phase).removeprefix("DELIVERY_PHASE_").lower()


def _now() -> float:
    return asyncio.get_running_loop().time()
