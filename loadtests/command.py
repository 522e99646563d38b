"""`python -m loadtests`: run a profile against a server, compare two runs, or compare precisions of a model."""

import asyncio
import gc
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from loadtests import compare, load, profile, tables
from loadtests.events import EventFailed
from loadtests.profile import Profile
from loadtests.report import Report
from loadtests.target import Target, access
from services.shared import lifecycle
from services.shared.clock import Clock, SystemClock
from services.shared.settings import WrongSettings, stop

if TYPE_CHECKING:
    from loadtests.precisions.choice import Choice
    from loadtests.precisions.study import Study

LOCAL_ENV = Path(".tidegate/local.env")
REPORTS = Path("build/loadtests")
PRECISIONS = Path("loadtests/profiles/precisions.yaml")
PIPED_WIDTH = 200
"""Columns for output that is not a terminal, so that nothing is cut off."""

app = typer.Typer(
    help="Open-loop load tests of OpenAI-compatible servers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command. Errors end it with a message."""
    try:
        app()
    except WrongSettings as error:
        stop(error)
    except (load.CannotRun, EventFailed) as error:
        sys.stderr.write(f"loadtests: {error}\n")
        raise SystemExit(1) from None


@app.command("run")
def run_command(
    profile_file: Annotated[Path, typer.Argument(metavar="PROFILE.yaml")],
    base_url: Annotated[
        str | None, typer.Option(envvar="OPENAI_BASE_URL", help="URL of the server; default: the local cluster's")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="OPENAI_API_KEY", help="API key; default: the local cluster's")
    ] = None,
    local_env: Annotated[Path, typer.Option(help="file with the local cluster's address and key")] = LOCAL_ENV,
    model: Annotated[
        str | None, typer.Option(help="model to use; default: the first one that the server lists")
    ] = None,
    duration: Annotated[float | None, typer.Option(help="seconds; default: the profile's")] = None,
    rate: Annotated[float | None, typer.Option(help="requests per second; default: the profile's")] = None,
    seed: Annotated[int | None, typer.Option(help="random seed; default: the profile's")] = None,
    report: Annotated[
        Path | None, typer.Option(help="folder of the report; default: a new one in build/loadtests")
    ] = None,
    require_goodput: Annotated[
        float | None, typer.Option(min=0, max=1, help="exit with status 1 if the share of goodput is lower")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="exit with status 1 on any error that is not a refusal with Retry-After")
    ] = False,
) -> None:
    """Send the load of a profile and write a report. Ctrl-C stops sending; the report covers what was measured."""
    chosen = profile.load(profile_file).with_changes(rate=rate, duration_s=duration, seed=seed)
    if chosen.events and base_url:
        raise WrongSettings(f"--base-url = {base_url!r}: {chosen.name} has events, which act on the local cluster")
    clock = SystemClock()
    target = access(base_url, api_key, local_env)
    # Plotting takes a second to load: not before something is to be plotted, and not after it was measured in vain.
    from loadtests import page

    done = _run(chosen, target, model, clock, local_env.parent)
    folder = report or REPORTS / f"{chosen.name}-{datetime.fromtimestamp(clock.wall(), UTC):%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    files = done.report.write(folder), page.write(folder, done.report, done.samples)
    _show(done.report)
    _out().print(*files, sep="\n", markup=False)
    if complaints := failures(done.report, require_goodput, strict=strict):
        sys.stderr.write("".join(f"loadtests: {complaint}\n" for complaint in complaints))
        raise typer.Exit(1)


@app.command("compare")
def compare_command(
    a: Annotated[Path, typer.Argument(metavar="A", help="report.json or its folder")],
    b: Annotated[Path, typer.Argument(metavar="B")],
) -> None:
    """Show two runs side by side, with ratios."""
    first, second = Report.read(a), Report.read(b)
    for difference in compare.differences(first, second):
        _out().print(f"not the same: {difference}", style="yellow", markup=False)
    _out().print(_table(compare.COLUMNS, compare.rows(first, second)))


@app.command("precisions")
def precisions_command(
    models: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME=MODEL[,KEY=VALUE]...",
            help="what to measure, in turn: a name for the row, what `tidegate models import` takes, and keys of the "
            "pool's engine",
        ),
    ],
    profile_file: Annotated[Path, typer.Option("--profile", help="the load")] = PRECISIONS,
    report: Annotated[
        Path | None, typer.Option(help="folder of the report; default: a new one in build/loadtests")
    ] = None,
    write: Annotated[Path | None, typer.Option(help="page whose table and plot are replaced")] = None,
) -> None:
    """Serve models of several precisions on clusters of their own, in turn, and compare speed, memory and loss.

    A model that cannot run on this machine has a row with the reason.
    """
    from loadtests.precisions import page, plots
    from loadtests.precisions.choice import choices

    chosen, load_profile = choices(models), profile.load(profile_file)
    if write:
        page.check(write)
    clock = SystemClock()
    done = _study(chosen, load_profile, clock)
    folder = report or REPORTS / f"precisions-{datetime.fromtimestamp(clock.wall(), UTC):%Y%m%d-%H%M%S}"
    folder.mkdir(parents=True, exist_ok=True)
    said = page.text(done)
    (folder / "precisions.json").write_text(done.model_dump_json(indent=2))
    (folder / "precisions.md").write_text(f"{said}\n")
    (folder / "precisions.png").write_bytes(plots.plot(done))
    _out().print(said, *(page.write(write, done) if write else []), folder, sep="\n", markup=False)


def failures(report: Report, required: float | None, *, strict: bool) -> list[str]:
    """The reasons why this run is not good enough; empty if it is."""
    share = report.total.goodput.share
    missed = required is not None and share < required
    return [
        *([f"goodput is {share:.2%}, {required:.2%} is required"] if missed else []),
        *([f"{report.unexpected} unexpected errors"] if strict and report.unexpected else []),
    ]


def _run(profile: Profile, target: Target, model: str | None, clock: Clock, data_dir: Path) -> load.Run:
    done: list[load.Run] = []

    async def work(stopped: asyncio.Event) -> None:
        console = Console(stderr=True, highlight=False)
        done.append(await load.run(profile, target, model, clock, console, stopped, data_dir=data_dir))

    # The present objects stay until the end, so the garbage collector need not scan them during the measurement.
    gc.freeze()
    lifecycle.run(work)
    return done[0]


def _study(chosen: "Sequence[Choice]", load_profile: Profile, clock: Clock) -> "Study":
    from loadtests.precisions.cluster import LocalCluster
    from loadtests.precisions.study import study

    done: list[Study] = []

    async def work(stopped: asyncio.Event) -> None:
        console = Console(stderr=True, highlight=False)
        with TemporaryDirectory(prefix="precisions-") as folder:
            done.append(await study(chosen, load_profile, LocalCluster(Path(folder)), clock, console, stopped))

    lifecycle.run(work)
    return done[0]


def _show(report: Report) -> None:
    out = _out()
    out.print(_table(tables.SUMMARY, tables.summary_rows(report)))
    out.print()
    out.print(_table(tables.COLUMNS, tables.latency_rows(report)))
    out.print()
    for trouble in report.troubles:
        out.print(f"{trouble.count} x {trouble.outcome}: {trouble.detail}", style="yellow", markup=False)
    cost = report.client
    per_event = "" if cost.cpu_us_per_event is None else f", {cost.cpu_us_per_event:.1f} us per streamed event"
    out.print(f"client: {cost.cpu_s:.1f} s of CPU in {report.elapsed_s:.1f} s{per_event}", style="dim")


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Table:
    """Names are left-aligned, figures right-aligned. A tier's name appears only in its first row."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    named = 2 if "measure" in columns else 1
    for index, column in enumerate(columns):
        table.add_column(column, no_wrap=True, justify="left" if index < named else "right")
    before = ""
    for row in rows:
        table.add_row(row[0] if row[0] != before else "", *row[1:])
        before = row[0]
    return table


def _out() -> Console:
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console
