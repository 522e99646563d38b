"""`python -m tests.robustness.clients`: clients that leave, that do not read, and that send too much."""

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.robustness import command
from tests.robustness.clients.configs import FEW_SLOTS, MANY_SLOTS, PER_SECOND
from tests.robustness.clients.departures import Departures, departures
from tests.robustness.clients.flood import Flood, flood
from tests.robustness.clients.stalls import Stalls, stalls
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test

Drill = Callable[[ClusterUnderTest], Coroutine[Any, Any, Departures | Stalls | Flood]]


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.clients", __doc__)
    parser.add_argument(
        "--departures", type=int, default=1000, help="how many clients leave in the middle of a response (0: none)"
    )
    parser.add_argument("--stalls", type=int, default=200, help="how many clients do not read their stream (0: none)")
    parser.add_argument(
        "--flood", type=float, default=30.0, help="seconds of ten times more requests than can be served (0: none)"
    )
    return parser.parse_args()


def run(config: str, drill: Drill, options: argparse.Namespace) -> bool:
    """Runs one drill on a cluster of its own. Returns False where it found violations."""
    with command.folder(keep=options.keep) as folder, cluster_under_test(folder, config) as cluster:
        report = asyncio.run(drill(cluster))
    command.print_line(f"seed {options.seed}: {report}")
    return not report.violations


def main() -> None:
    options = parse()
    good = []
    if options.departures:
        good.append(
            run(FEW_SLOTS, lambda cluster: departures(cluster, clients=options.departures, seed=options.seed), options)
        )
    if options.stalls:
        good.append(
            run(MANY_SLOTS, lambda cluster: stalls(cluster, clients=options.stalls, seed=options.seed), options)
        )
    if options.flood:
        rate = 10 * PER_SECOND
        good.append(
            run(
                FEW_SLOTS,
                lambda cluster: flood(cluster, per_second=rate, lasts_s=options.flood, seed=options.seed),
                options,
            )
        )
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
