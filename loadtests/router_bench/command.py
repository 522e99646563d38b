"""The command: measures on its own Redis, prints tables, writes JSON, and checks the budgets."""

import asyncio
import os
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.progress import track
from rich.table import Table

from loadtests import redis_server
from loadtests.router_bench import process, scripts
from loadtests.router_bench.process import ProcessFigures
from loadtests.router_bench.scripts import Case, Cost, ScriptFigures

POLICIES = ("prefix", "least_load", "round_robin")
QUEUED = (0, 1_000, 100_000)
BLOCKS = (0, 64)
P99_US = 1_000
SUBMITS_PER_SECOND = 10_000
FLAT = 2.0
"""A script may take this much longer with the longest queue than with the shortest."""

PIPED_WIDTH = 160

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Report(BaseModel):
    """All figures. `load`: load average of the machine at the start; figures of a busy machine are too high."""

    redis: str
    load: float
    scripts: list[ScriptFigures]
    process: list[ProcessFigures]


@app.command()
def bench(
    calls: Annotated[int, typer.Option(min=100, max=4_000, help="script calls measured for each figure")] = 4_000,
    pairs: Annotated[int, typer.Option(min=0, help="requests through a router process; 0: none")] = 20_000,
    queued: Annotated[int, typer.Option(min=1_000, help="longest queue")] = QUEUED[-1],
    json: Annotated[Path | None, typer.Option(help="file for the figures")] = None,
) -> None:
    """Measure the router's scripts and its process. Exit status 1: a budget is missed."""
    console, load = Console(stderr=True), os.getloadavg()[0]
    cases = [Case(policy=p, blocks=b, queued=q) for p, b, q in product(POLICIES, BLOCKS, (*QUEUED[:-1], queued))]
    of_scripts = [_measured(case, calls) for case in track(cases, "scripts", console=console)]
    with redis_server.running() as server:
        runs = list(product(POLICIES, BLOCKS)) if pairs else []
        of_process = [
            asyncio.run(process.measure(server, policy, blocks=blocks, pairs=pairs))
            for policy, blocks in track(runs, "router process", console=console)
        ]
        version = server.version
    report = Report(redis=version, load=load, scripts=of_scripts, process=of_process)
    if json:
        json.write_text(report.model_dump_json(indent=2))
    show(report, Console() if sys.stdout.isatty() else Console(width=PIPED_WIDTH))
    raise typer.Exit(1 if any(missed(report)) else 0)


def _measured(case: Case, calls: int) -> ScriptFigures:
    """Measures on a new Redis: the heap after a hundred thousand requests makes the next case four times slower."""
    with redis_server.running() as server:
        return scripts.measure(server, case, calls)


def show(report: Report, console: Console) -> None:
    """Prints all figures."""
    console.print(f"{report.redis}, load {report.load:.1f}", highlight=False)
    console.print(_scripts(report.scripts))
    if report.process:
        console.print(_process(report.process))
    for line in missed(report):
        console.print(f"missed: {line}", style="red")


def missed(report: Report) -> Iterator[str]:
    """Yields the budgets that are missed."""
    for figures in report.scripts:
        for name, cost in (("submit", figures.submit), ("finish", figures.finish)):
            if cost.p99_us >= P99_US:
                yield f"{name} of {figures.case}: p99 {cost.p99_us:.0f} us, not under {P99_US}"
        if figures.submit.per_second < SUBMITS_PER_SECOND:
            yield f"{figures.case}: {figures.submit.per_second:,.0f} submits/s, not {SUBMITS_PER_SECOND:,}"
    yield from _not_flat(report.scripts)


def _not_flat(found: list[ScriptFigures]) -> Iterator[str]:
    """Compares queues of different length, but not the empty one: with it, submit grants at once."""
    by_case = {f.case: f for f in found if f.case.queued}
    for (case, longer), (_, shorter) in product(by_case.items(), by_case.items()):
        same = (case.policy, case.blocks) == (shorter.case.policy, shorter.case.blocks)
        if same and longer.finish.cpu_us > FLAT * shorter.finish.cpu_us and case.queued > shorter.case.queued:
            yield f"finish grows with the queue: {case}"


def _scripts(found: list[ScriptFigures]) -> Table:
    table = _table(
        "policy", "blocks", "queued", "submit: cpu us", "p50", "p99", "/s", "finish: cpu us", "p50", "p99", "/s"
    )
    for figures in found:
        case = figures.case
        table.add_row(
            case.policy, str(case.blocks), f"{case.queued:,}", *_cells(figures.submit), *_cells(figures.finish)
        )
    return table


def _cells(cost: Cost) -> tuple[str, ...]:
    return (f"{cost.cpu_us:.0f}", f"{cost.p50_us:.0f}", f"{cost.p99_us:.0f}", f"{cost.per_second:,.0f}")


def _process(found: list[ProcessFigures]) -> Table:
    table = _table("policy", "blocks", "requests/s", "per router core", "router us", "redis us")
    for figures in found:
        table.add_row(
            *(figures.policy, str(figures.blocks), f"{figures.per_second:,.0f}", f"{figures.per_router_core:,.0f}"),
            f"{figures.router_cpu_s / figures.pairs * 1e6:.0f}",
            f"{figures.redis_cpu_s / figures.pairs * 1e6:.0f}",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column == "policy" else "right", no_wrap=True)
    return table
