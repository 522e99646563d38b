"""`python -m tests.robustness.clients`: clients that leave, that do not read, and that are too many."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.robustness import command
from tests.robustness.arena import Arena, arena
from tests.robustness.clients.cluster import FEW_SLOTS, MANY_SLOTS, PER_SECOND
from tests.robustness.clients.departures import Departures, departures
from tests.robustness.clients.flood import Flood, flood
from tests.robustness.clients.stalls import Stalls, stalls

Drill = Callable[[Arena], Coroutine[Any, Any, Departures | Stalls | Flood]]


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.clients", __doc__)
    parser.add_argument("--departures", type=int, default=1000, help="clients that leave; 0: none")
    parser.add_argument("--stalls", type=int, default=200, help="clients that do not read")
    parser.add_argument("--flood", type=float, default=30.0, help="seconds of ten times what can be served")
    return parser.parse_args()


def run(config: str, drill: Drill, told: argparse.Namespace) -> bool:
    with command.folder(keep=told.keep) as folder, arena(folder, config) as built:
        verdict = asyncio.run(drill(built))
    command.say(f"seed {told.seed}: {verdict}")
    return not verdict.complaints


def main() -> None:
    told = parse()
    good = []
    if told.departures:
        good.append(run(FEW_SLOTS, lambda a: departures(a, clients=told.departures, seed=told.seed), told))
    if told.stalls:
        good.append(run(MANY_SLOTS, lambda a: stalls(a, clients=told.stalls, seed=told.seed), told))
    if told.flood:
        rate = 10 * PER_SECOND
        good.append(run(FEW_SLOTS, lambda a: flood(a, per_second=rate, lasts_s=told.flood, seed=told.seed), told))
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
