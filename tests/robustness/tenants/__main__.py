"""`python -m tests.robustness.tenants`: two tenants at once, and then a look for secrets in all that was written."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.accounted import accounted
from tests.robustness.tenants.drill import drill


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.tenants", __doc__)
    parser.add_argument("--requests", type=int, default=2000)
    return parser.parse_args()


def main() -> None:
    told = parse()
    with command.folder(keep=told.keep) as folder, accounted(folder) as there:
        run = asyncio.run(drill(there, requests=told.requests, seed=told.seed))
    command.say(f"seed {told.seed}: {run}")
    sys.exit(1 if run.complaints else 0)


if __name__ == "__main__":
    main()
