"""`python -m tests.robustness.gateways`: gateways behind Traefik are restarted, then all is upgraded, under load."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.cluster_under_test import cluster_under_test
from tests.robustness.gateways.drill import CONFIG, balanced, drill
from tests.robustness.gateways.upgrade import upgrade
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
        cluster_under_test(folder, CONFIG, "--routers", "2") as cluster,
        balanced(cluster, folder) as gateways,
    ):
        run = asyncio.run(drill(gateways, restarts=options.restarts, streams=options.streams, seed=options.seed))
        (folder / "upgrade").mkdir()
        upgraded = asyncio.run(upgrade(gateways, folder / "upgrade", streams=options.streams, seed=options.seed))
    reports = {"restarted": check(run), "upgraded": check(upgraded)}
    for name, report in reports.items():
        command.print_line(f"{name}, seed {options.seed}: {report}")
    sys.exit(1 if any(report.violations or report.late for report in reports.values()) else 0)


if __name__ == "__main__":
    main()
