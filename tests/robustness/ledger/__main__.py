"""`python -m tests.robustness.ledger`: PostgreSQL and a gateway fail under load, and then every row is checked."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.cluster_with_database import cluster_with_database
from tests.robustness.ledger.drill import drill
from tests.robustness.ledger.faults import FROZEN, KILLED, STOPPED
from tests.robustness.ledger.invariant_checker import check


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.ledger", __doc__)
    parser.add_argument("--stop", type=float, default=120.0, help="seconds without a database, for each fault")
    parser.add_argument("--rate", type=float, default=40.0, help="requests per second")
    return parser.parse_args()


def main() -> None:
    options, good = parse(), True
    with command.folder(keep=options.keep) as folder, cluster_with_database(folder) as cluster:
        for fault in (STOPPED, FROZEN, KILLED):
            run = asyncio.run(drill(cluster, fault, hold_s=options.stop, per_second=options.rate, seed=options.seed))
            report = check(run)
            command.print_line(f"{fault.name} for {options.stop:.0f} s, seed {options.seed}: {report}")
            good = good and not report.violations
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
