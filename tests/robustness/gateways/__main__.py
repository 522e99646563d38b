"""`python -m tests.robustness.gateways`: gateways behind Traefik are restarted one after another, under load."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.cluster_under_test import cluster_under_test
from tests.robustness.gateways.drill import CONFIG, balanced, drill
from tests.robustness.invariant_checker import check


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.gateways", __doc__)
    parser.add_argument("--restarts", type=int, default=20, help="how many gateways are restarted")
    parser.add_argument("--streams", type=int, default=40, help="requests that are always open, streamed or not")
    return parser.parse_args()


def main() -> None:
    options = parse()
    with (
        command.folder(keep=options.keep) as folder,
        cluster_under_test(folder, CONFIG) as cluster,
        balanced(cluster, folder) as gateways,
    ):
        run = asyncio.run(drill(gateways, restarts=options.restarts, streams=options.streams, seed=options.seed))
    report = check(run)
    command.print_line(f"restarted, seed {options.seed}: {report}")
    sys.exit(1 if report.violations or report.late else 0)


if __name__ == "__main__":
    main()
