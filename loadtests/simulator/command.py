"""`python -m loadtests.simulator`: studies a scenario, records its traffic, or plays a recording."""

import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import redis
import typer
from rich.console import Console

from loadtests import redis_server
from loadtests.simulator import ask, page, scenario, traffic
from loadtests.simulator.policies import POLICIES, Policy
from loadtests.simulator.progress import showing
from loadtests.simulator.scenario import Scenario
from loadtests.simulator.simulation import NeverEnds
from loadtests.simulator.study import LOADS, Laboratory
from loadtests.simulator.verdict import goals
from services.shared.settings import WrongSettings, check, stop

REPORTS = Path("build/simulator")

app = typer.Typer(
    help="A cluster on simulated time: the router's own scripts in a real Redis, and simulated engines.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

ScenarioFile = Annotated[Path, typer.Argument(metavar="SCENARIO.yaml")]
Seed = Annotated[int | None, typer.Option(help="instead of the scenario's")]
Workers = Annotated[int | None, typer.Option(help="instead of the scenario's")]
Duration = Annotated[float | None, typer.Option(help="seconds of arrivals, instead of the scenario's")]


def main() -> None:
    """Runs the command line."""
    # A signal that ends this process must end its Redis too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        app()
    except WrongSettings as error:
        stop(error)
    except (NeverEnds, redis.RedisError) as error:
        sys.stderr.write(f"simulator: {error}\n")
        raise SystemExit(1) from None


@app.command("run")
def run_command(
    scenario_file: ScenarioFile,
    policies: Annotated[str, typer.Option(help="names with commas between")] = ",".join(POLICIES),
    loads: Annotated[str, typer.Option(help="times capacity, with commas between")] = ",".join(f"{x:g}" for x in LOADS),
    flood: Annotated[float, typer.Option(help="times its share that a tenant sends in a flood")] = 50.0,
    seed: Seed = None,
    workers: Workers = None,
    duration: Duration = None,
    write: Annotated[Path | None, typer.Option(help="page whose results are replaced")] = None,
) -> None:
    """Measure capacity, then every policy on the same traffic: at several loads, and with and without a flood."""
    wanted = _changed(scenario.load(scenario_file), seed=seed, workers=workers, duration_s=duration)
    console = Console(stderr=True, highlight=False)
    with redis_server.running() as server, showing(console) as progress:
        done = Laboratory(server.client, progress).study(wanted, _policies(policies), _loads(loads), flood)
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f"{wanted.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    report.write_text(done.model_dump_json(indent=2))
    files = page.write(write, done) if write else []
    sys.stdout.write(f"{page.text(done)}\n")
    sys.stdout.writelines(f"{file}\n" for file in (report, *files))
    for goal in goals(done):
        console.print(f"{'met   ' if goal.met else 'MISSED'}  {goal.says}: {goal.found}", markup=False)


@app.command("record")
def record_command(
    scenario_file: ScenarioFile, rate: float, file: Path, seed: Seed = None, duration: Duration = None
) -> None:
    """Write the traffic that a scenario has at RATE requests per second, one JSON object a line."""
    wanted = _changed(scenario.load(scenario_file), seed=seed, duration_s=duration)
    ask.write(file, traffic.generate(wanted, rate))


@app.command("play")
def play_command(
    scenario_file: ScenarioFile,
    recording: Path,
    policies: Annotated[str, typer.Option(help="names with commas between")] = ",".join(POLICIES),
    workers: Workers = None,
) -> None:
    """Send recorded requests to the scenario's fleet instead of made-up ones, and write what came of it as JSON."""
    asks = ask.read(recording)
    last_s = asks[-1].due_ms / 1000 + 1 if asks else 1.0
    wanted = _changed(scenario.load(scenario_file), workers=workers, duration_s=last_s, warmup_s=0.0)
    with redis_server.running() as server, showing(Console(stderr=True, highlight=False)) as progress:
        laboratory = Laboratory(server.client, progress)
        for policy in _policies(policies):
            found = laboratory.run(wanted, policy, asks, f"{policy} on {recording.name}")
            sys.stdout.write(f"{found.model_dump_json()}\n")


def _changed(given: Scenario, **changes: object) -> Scenario:
    """Options of the command line replace values of the scenario. Raises WrongSettings."""
    said = {key: value for key, value in changes.items() if value is not None}
    return check(Scenario, {**given.model_dump(), **said}, lambda key: f"--{key.removesuffix('_s')}")


def _policies(names: str) -> list[Policy]:
    """Reads names of policies. `prefix` must be among them, because the goals are about it. Raises WrongSettings."""
    wanted = names.split(",")
    unknown = [name for name in wanted if name not in POLICIES]
    if unknown or "prefix" not in wanted:
        raise WrongSettings(f"--policies = {names}: wants prefix, and any of {', '.join(POLICIES)}")
    return [policy for policy in POLICIES if policy in wanted]


def _loads(numbers: str) -> list[float]:
    """Reads loads. Raises WrongSettings."""
    try:
        found = [float(part) for part in numbers.split(",")]
    except ValueError:
        raise WrongSettings(f"--loads = {numbers}: wants numbers with commas between") from None
    if not all(0 < load <= 100 for load in found):
        raise WrongSettings(f"--loads = {numbers}: wants numbers above 0, and 100 at most")
    return found
