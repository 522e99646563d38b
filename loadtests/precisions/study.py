"""The measurement: each model is served in turn, and gets the same text and the same load. precisions.json."""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Protocol

import psutil
from pydantic import Field
from rich.console import Console

from loadtests import load
from loadtests.figures import Figures
from loadtests.load import CannotRun
from loadtests.precisions.choice import Choice
from loadtests.precisions.cluster import DoesNotRun
from loadtests.precisions.loss import held_out_loss
from loadtests.profile import Profile
from loadtests.strict import Strict
from loadtests.target import Target
from services.shared.clock import Clock
from services.shared.held_out import passages


class Cluster(Protocol):
    """Where models are served, one at a time. The errors are those of LocalCluster."""

    @property
    def data_dir(self) -> Path:
        """Its data folder."""
        ...

    async def import_models(self, sources: Iterable[tuple[str, str]]) -> None:
        """Imports models by name and source."""
        ...

    def running(self, config: str) -> AbstractAsyncContextManager[Target]:
        """Serves with this configuration until the block ends."""
        ...

    async def peak_bytes(self) -> int:
        """The most main memory that the engine's processes have taken so far, added up."""
        ...


class Measured(Strict):
    """What was seen of one model."""

    total: Figures
    held_out_loss: float = Field(description="mean of the served model, in nats a token")
    held_out_tokens: int
    peak_bytes: int = Field(description="most main memory of the engine's processes, of its start too")
    machine_load: float = Field(description="processes that ran or waited to run, mean of the last minute")


class Row(Strict):
    """One model. Either it was measured, or the reason says why it could not be."""

    name: str
    engine: dict[str, Any]
    measured: Measured | None = None
    reason: str = ""


class Study(Strict):
    """The whole file."""

    schema_version: Literal[1] = 1
    started_at: str = Field(description="ISO 8601, UTC")
    cores: int
    memory_bytes: int
    profile: Profile
    rows: list[Row]


async def study(
    choices: Sequence[Choice],
    profile: Profile,
    cluster: Cluster,
    clock: Clock,
    console: Console,
    stop: asyncio.Event,
) -> Study:
    """Measures models, one after another.

    Args:
        choices: The models.
        profile: The load.
        cluster: Where the models are served.
        clock: Paces the load.
        console: Shows the progress.
        stop: Ends the study early.

    Raises:
        CannotRun: A model was served but could not be measured, or could not be imported; or the study was stopped.
        WrongSettings: The engine refuses a setting.
    """
    started = datetime.fromtimestamp(clock.wall(), UTC).isoformat(timespec="seconds")
    await cluster.import_models((choice.name, choice.source) for choice in choices)

    async def measured(target: Target, name: str) -> Measured:
        loss = await held_out_loss(target, name, passages())
        run = await load.run(profile, target, name, clock, console, stop, data_dir=cluster.data_dir)
        if run.report.stopped_early:
            raise CannotRun(f"{name}: stopped before it was measured")
        if wrong := run.report.troubles:
            raise CannotRun(f"{name}: {wrong[0].count} requests failed: {wrong[0].outcome}: {wrong[0].detail}")
        return Measured(
            total=run.report.total,
            held_out_loss=loss.mean,
            held_out_tokens=loss.tokens,
            peak_bytes=await cluster.peak_bytes(),
            machine_load=os.getloadavg()[0],
        )

    rows = [await _row(choice, cluster, measured, console) for choice in choices]
    return Study(
        started_at=started,
        cores=os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        profile=profile,
        rows=rows,
    )


async def _row(
    choice: Choice, cluster: Cluster, measured: Callable[[Target, str], Awaitable[Measured]], console: Console
) -> Row:
    console.print(f"{choice.name}: starting", markup=False)
    try:
        async with cluster.running(choice.config()) as target:
            return Row(name=choice.name, engine=choice.engine, measured=await measured(target, choice.name))
    except DoesNotRun as error:
        console.print(f"{choice.name}: does not run: {error}", markup=False, soft_wrap=True)
        return Row(name=choice.name, engine=choice.engine, reason=str(error))
