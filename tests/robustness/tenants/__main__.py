"""`python -m tests.robustness.tenants`: two tenants at once, and a search for leaked secrets."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.cluster_with_database import cluster_with_database
from tests.robustness.tenants.drill import drill


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.tenants", __doc__)
    parser.add_argument("--requests", type=int, default=2000, help="of both tenants together")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with command.folder(keep=options.keep) as folder, cluster_with_database(folder) as cluster:
        run = asyncio.run(drill(cluster, requests=options.requests, seed=options.seed))
    command.print_line(f"seed {options.seed}: {run}")
    sys.exit(1 if run.violations else 0)


if __name__ == "__main__":
    main()
