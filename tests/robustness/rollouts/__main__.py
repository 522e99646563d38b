"""`python -m tests.robustness.rollouts`: a pool changes over under load, there and back; routers are killed."""

import argparse
import asyncio
import sys
from random import Random
from statistics import median

from services.local.ports import Ports
from tests.robustness import command
from tests.robustness.cluster_under_test import cluster_under_test
from tests.robustness.gateways.drill import GATEWAYS, second_gateway
from tests.robustness.rollouts.drill import ROUTERS, Cycle, config, drill


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.rollouts", __doc__)
    parser.add_argument("--cycles", type=int, default=50, help="rollouts (default: 50)")
    parser.add_argument("--kills", type=int, default=10, help="in so many of them a router is killed (default: 10)")
    parser.add_argument("--workers", type=int, default=8, help="simulated workers (default: 8)")
    parser.add_argument("--rate", type=float, default=200, help="requests per second (default: 200)")
    return parser.parse_args()


async def run(options: argparse.Namespace) -> list[Cycle]:
    done = []
    with (
        command.folder(keep=options.keep) as folder,
        cluster_under_test(folder, config(options.workers), "--routers", str(ROUTERS)) as cluster,
        Ports(Random()) as ports,
        second_gateway(cluster, folder, ports),
    ):
        cluster.injector.wait_until_up(list(GATEWAYS), at_least=len(GATEWAYS))
        urls = [f"http://{cluster.view.http[name]}/v1" for name in GATEWAYS]
        async for cycle in drill(
            cluster, urls, cycles=options.cycles, kills=options.kills, per_second=options.rate, seed=options.seed
        ):
            done.append(cycle)
            command.print_line(
                f"cycle {len(done)}{', a router killed' if cycle.killed else ''}: {len(cycle.answers)} requests,"
                f" {cycle.took_s:.1f} s, longest request {cycle.longest_s:.2f} s"
            )
            for violation in cycle.violations()[:10]:
                command.print_line(f"  {violation}")
    return done


def main() -> None:
    options = parse()
    done = asyncio.run(run(options))
    bad = [violation for cycle in done for violation in cycle.violations()]
    took = sorted(cycle.took_s for cycle in done)
    command.print_line(
        f"rollouts, seed {options.seed}: {len(done)} change-overs, in {sum(cycle.killed for cycle in done)} a router"
        f" killed; {sum(len(cycle.answers) for cycle in done)} requests; a rollout took {median(took):.1f} s"
        f" (longest {took[-1]:.1f}), the longest request {max(cycle.longest_s for cycle in done):.2f} s"
    )
    command.print_line(f"{len(bad)} violations" if bad else "no violations")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
