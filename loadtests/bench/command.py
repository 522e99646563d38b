"""The command: measures, prints tables, writes JSON, and compares with the goals."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests.bench import checkouts, first_token, models, peers, requests, tokens, whole
from loadtests.bench.figures import Findings, Report
from loadtests.bench.load_generator import Load
from loadtests.tables import number

PIPED_WIDTH = 160
RUST_FRONT_END = "vLLM's front end in Rust (VLLM_USE_RUST_FRONTEND=1): vLLM's wheels for CPUs do not have it"
SMOLLM2 = Load(requests=64, concurrency=64, tokens=64, streamed=True)

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Measurement(StrEnum):
    """What can be measured. `whole`: CPU of requests and tokens, with a model that costs almost nothing."""

    WHOLE = "whole"
    SMOLLM2 = "smollm2"
    FIRST_TOKEN = "first-token"  # noqa: S105 (of an answer)
    REQUESTS = "requests"


@app.command()
def bench(
    measurements: Annotated[
        list[Measurement] | None, typer.Argument(help="what to measure; default: everything")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="measured rounds of each load; the medians are shown")] = 3,
    tokens_each: Annotated[
        int | None, typer.Option("--tokens", min=2, help="tokens of each answer of `smollm2`")
    ] = None,
    peers_at: Annotated[
        Path | None,
        typer.Option(
            "--peers",
            envvar="TIDEGATE_BENCH_PEERS",
            help="virtual environment with vllm-router, and optionally smg and litellm; default: .tools/peers",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            file_okay=False,
            help="another checkout of Tidegate, with a .venv: compare CPU with it, and nothing else that is not named",
        ),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="file that the figures are written to, as JSON")] = None,
) -> None:
    """Measure CPU costs and latencies beside other servers. Exit status 1: a goal is missed."""
    # SIGTERM must also end the servers that the run started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if against and not (against / ".venv/bin/python").exists():
        raise typer.BadParameter(f"{against} has no .venv: run `make setup` there", param_hint="--against")
    console, load = Console(stderr=True), os.getloadavg()[0]
    report = Report(load=load, left_out=[RUST_FRONT_END])
    wanted: Sequence[Measurement] = measurements or ([] if against else list(Measurement))
    programs = _programs(peers_at, report) if wanted else None
    with TemporaryDirectory(prefix="tidegate-bench-") as folder:
        if against:
            with console.status(str(against)):
                report.add(asyncio.run(checkouts.measure(Path(folder), against.resolve(), rounds)))
        for measurement in wanted:
            with console.status(measurement):
                report.add(asyncio.run(_measure(measurement, Path(folder), programs, rounds, tokens_each)))
    if json:
        json.write_text(report.model_dump_json(indent=2))
    show(report, Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH))
    raise typer.Exit(0 if all(row.met for row in report.rows) else 1)


def _programs(peers_at: Path | None, report: Report) -> Path | None:
    """Folder of the peers' programs. None if there are none: the report says so."""
    try:
        return peers.programs(peers_at)
    except peers.NoPeers as none:
        report.left_out.append(f"the comparison with routers: {none}")
        return None


async def _measure(
    measurement: Measurement, folder: Path, programs: Path | None, rounds: int, tokens_each: int | None
) -> Findings:
    match measurement:
        case Measurement.FIRST_TOKEN:
            return await first_token.measure(folder, programs, rounds) if programs else Findings()
        case Measurement.REQUESTS:
            return await requests.measure(folder, programs, rounds) if programs else Findings()
        case Measurement.SMOLLM2:
            load = replace(SMOLLM2, tokens=tokens_each or SMOLLM2.tokens)
            return await tokens.measure(folder, models.smollm2(), load, rounds)
        case Measurement.WHOLE:
            return await whole.measure(folder, programs, rounds)


def show(report: Report, console: Console) -> None:
    """Prints the report."""
    rows = Table("", "unit", "ours", "theirs", "ratio", "goal", "", "theirs is", box=None, header_style="bold")
    for row in report.rows:
        figures = (number(row.ours), number(row.theirs), number(row.ratio))
        rows.add_row(row.what, row.unit, *figures, row.goal_text, row.verdict_text, row.peer)
    parts = Table("", "unit", "figure", box=None, header_style="bold")
    for part in report.parts:
        parts.add_row(part.what, part.unit, number(part.value))
    console.print(f"load of the machine {report.load:.1f}", highlight=False)
    console.print(rows)
    console.print(parts)
    for what in report.left_out:
        console.print(f"left out: {what}", style="yellow", highlight=False)
