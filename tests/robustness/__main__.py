"""`python -m tests.robustness`: runs all scenarios, one after another, and prints the seed that replays them."""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import SystemRandom

from tests.robustness import command

MAX_SEED = 1_000_000


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario.

    Attributes:
        name: Its package in tests/robustness.
        weight: Its share of the time, relative to the others.
        arguments: The options of its command that fill so many seconds.
    """

    name: str
    weight: float
    arguments: Callable[[float], dict[str, float]]

    def argv(self, seconds: float, seed: int) -> list[str]:
        """The command line for a run of so many seconds."""
        options = {name: str(max(1, round(value))) for name, value in self.arguments(seconds).items()}
        given = [part for name, value in options.items() for part in (f"--{name}", value)]
        return [sys.executable, "-m", f"tests.robustness.{self.name}", *given, "--seed", str(seed)]


SCENARIOS = (
    Scenario("streams", 3, lambda s: {"kills": s / 3, "freezes": s / 15, "drains": s / 9}),
    Scenario("router", 3, lambda s: {"kills": s / 4, "redis": s / 120}),
    Scenario("rollouts", 1, lambda s: {"cycles": s / 5, "kills": s / 25}),
    Scenario("gateways", 1, lambda s: {"restarts": s / 8}),
    Scenario("ledger", 1, lambda s: {"stop": s / 4}),
    Scenario("tenants", 0.5, lambda s: {"requests": s * 20}),
    Scenario("inputs", 1, lambda s: {"cases": s * 25}),
    Scenario("adapters", 1, lambda s: {"requests": s * 2}),
    Scenario("parallel", 1, lambda s: {"requests": s / 10}),
    Scenario("swaps", 1, lambda s: {"rollouts": s / 10}),
    Scenario("cycles", 1, lambda s: {"cycles": s / 5}),
    Scenario("reloads", 1, lambda s: {"swaps": s / 20}),
    Scenario("groups", 1, lambda s: {"requests": s / 10}),
    Scenario("architectures", 1, lambda s: {"requests": s / 20}),
    Scenario("quantized", 1, lambda s: {}),
    Scenario("speculators", 2, lambda s: {"train": s / 2, "questions": s / 10}),
    Scenario("backup", 0.2, lambda s: {}),
    Scenario("checkpoints", 0.5, lambda s: {"count": s * 10}),
    Scenario("pretraining", 1, lambda s: {"steps": s / 2, "kills": s / 20}),
    Scenario("publishing", 1, lambda s: {"kills": s, "races": s / 2}),
    Scenario("staging", 1, lambda s: {"gib": 20, "kills": 3}),
    Scenario("gates", 2, lambda s: {"bad": s / 200, "good": s / 60}),
    Scenario("training", 1, lambda s: {"kills": s / 120}),
    Scenario("clients", 2, lambda s: {"departures": s * 8, "stalls": 200, "flood": s / 5}),
)
"""The divisors are the seconds that one fault or request takes on two cores, without the start of the cluster."""


def parse() -> argparse.Namespace:
    names = [scenario.name for scenario in SCENARIOS]
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="for all scenarios together (default: 60)")
    parser.add_argument(
        "--seed", type=int, help="of requests, targets and pauses (default: a new one, which is printed)"
    )
    parser.add_argument("--only", action="append", choices=names, help="only this scenario; may be repeated")
    return parser.parse_args()


def main() -> None:
    """Runs every chosen scenario, even after one has found violations. Exit status 1 says that at least one did."""
    options = parse()
    seed = SystemRandom().randrange(MAX_SEED) if options.seed is None else options.seed
    chosen = [scenario for scenario in SCENARIOS if not options.only or scenario.name in options.only]
    weights = sum(scenario.weight for scenario in chosen)
    failed = [each.name for each in chosen if not run(each, options.minutes * 60 * each.weight / weights, seed)]
    found = f"violations from {', '.join(failed)}" if failed else "no violations"
    command.print_line(f"seed {seed}: {found}")
    sys.exit(1 if failed else 0)


def run(scenario: Scenario, seconds: float, seed: int) -> bool:
    """Runs one scenario in a process of its own. Returns False where it found violations."""
    argv = scenario.argv(seconds, seed)
    command.print_line(f"$ {' '.join(['python', *argv[1:]])}")
    began = time.monotonic()
    status = subprocess.run(argv, check=False).returncode
    command.print_line(f"{scenario.name}: exit status {status} after {time.monotonic() - began:.0f} s")
    return status == 0


if __name__ == "__main__":
    main()
