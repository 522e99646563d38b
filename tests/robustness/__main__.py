"""`python -m tests.robustness --minutes 60`: all scenarios in turn, each for its share of the time, seeds printed."""

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
    """weight: its share of the time against the others'. arguments: what it does in so many seconds."""

    name: str
    weight: float
    arguments: Callable[[float], dict[str, float]]

    def argv(self, seconds: float, seed: int) -> list[str]:
        told = {name: str(max(1, round(value))) for name, value in self.arguments(seconds).items()}
        given = [part for name, value in told.items() for part in (f"--{name}", value)]
        return [sys.executable, "-m", f"tests.robustness.{self.name}", *given, "--seed", str(seed)]


# Seconds that one of each takes, starts of clusters left out, on two cores.
SCENARIOS = (
    Scenario("streams", 3, lambda s: {"kills": s / 3, "freezes": s / 15, "drains": s / 9}),
    Scenario("router", 3, lambda s: {"kills": s / 4, "redis": s / 120}),
    Scenario("gateways", 1, lambda s: {"restarts": s / 8}),
    Scenario("ledger", 1, lambda s: {"stop": s / 4}),
    Scenario("tenants", 0.5, lambda s: {"requests": s * 20}),
    Scenario("inputs", 1, lambda s: {"cases": s * 25}),
    Scenario("clients", 2, lambda s: {"departures": s * 8, "stalls": 200, "flood": s / 5}),
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, help="default: drawn, and printed")
    parser.add_argument("--only", action="append", choices=[scenario.name for scenario in SCENARIOS])
    return parser.parse_args()


def main() -> None:
    """Exit status 1: at least one scenario complained. The others run all the same."""
    told = parse()
    seed = SystemRandom().randrange(MAX_SEED) if told.seed is None else told.seed
    chosen = [scenario for scenario in SCENARIOS if not told.only or scenario.name in told.only]
    weights = sum(scenario.weight for scenario in chosen)
    failed = [each.name for each in chosen if not run(each, told.minutes * 60 * each.weight / weights, seed)]
    found = f"complaints from {', '.join(failed)}" if failed else "no complaints"
    command.say(f"seed {seed}: {found}")
    sys.exit(1 if failed else 0)


def run(scenario: Scenario, seconds: float, seed: int) -> bool:
    argv = scenario.argv(seconds, seed)
    command.say(f"$ {' '.join(['python', *argv[1:]])}")
    began = time.monotonic()
    status = subprocess.run(argv, check=False).returncode
    command.say(f"{scenario.name}: exit status {status} after {time.monotonic() - began:.0f} s")
    return status == 0


if __name__ == "__main__":
    main()
