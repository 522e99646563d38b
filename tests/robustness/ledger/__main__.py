"""`python -m tests.robustness.ledger`: PostgreSQL away under load, a gateway killed; then every row is judged."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.accounted import accounted
from tests.robustness.ledger.drill import drill
from tests.robustness.ledger.faults import FROZEN, KILLED, STOPPED
from tests.robustness.ledger.verdict import judge


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.ledger", __doc__)
    parser.add_argument("--stop", type=float, default=120.0, help="seconds without a database, for each fault")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    return parser.parse_args()


def main() -> None:
    told, good = parse(), True
    with command.folder(keep=told.keep) as folder, accounted(folder) as there:
        for fault in (STOPPED, FROZEN, KILLED):
            run = asyncio.run(drill(there, fault, hold_s=told.stop, per_second=told.rate, seed=told.seed))
            verdict = judge(run)
            command.say(f"{fault.name} for {told.stop:.0f} s, seed {told.seed}: {verdict}")
            good = good and not verdict.complaints
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
