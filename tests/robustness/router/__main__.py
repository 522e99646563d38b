"""`python -m tests.robustness.router`: routers and Redis fail under load, one kind of fault after another."""

import argparse
import asyncio
import sys
from random import Random

from tests.robustness import command
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.robustness.router.drill import CONFIG, OPTIONS, ROUTERS, drill
from tests.robustness.router.faults import Fault, Flushed, OutOfMemory, Paused, ReadOnly, RedisKilled, RouterKilled
from tests.robustness.router.invariant_checker import check

HEAL_S = 6.0
"""Pause after each fault of Redis."""


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.router", __doc__)
    parser.add_argument("--kills", type=int, default=60, help="how many routers are killed, one a second")
    parser.add_argument("--redis", type=int, default=10, help="how often each fault of Redis is injected")
    parser.add_argument("--rate", type=float, default=200, help="requests per second")
    parser.add_argument("--only", action="append", help="only this fault, such as 'redis killed'; may be repeated")
    return parser.parse_args()


def faults(cluster: ClusterUnderTest, random: Random) -> list[Fault]:
    url = cluster.view.redis_url
    return [
        RouterKilled(cluster.injector, random, up=ROUTERS),
        RedisKilled(cluster.injector),
        Flushed(url),
        Paused(url),
        ReadOnly(url),
        OutOfMemory(url),
    ]


async def run(cluster: ClusterUnderTest, fault: Fault, options: argparse.Namespace) -> bool:
    # Requests that waited during a fault must be served before the next one.
    heal_s = HEAL_S + 2 * fault.lasts_s
    every_s, injections = (heal_s, options.redis) if fault.hides_redis else (1.0, options.kills)
    run_log = await drill(
        cluster, [fault], injections=injections, every_s=every_s, per_second=options.rate, seed=options.seed
    )
    report = check(run_log)
    command.print_line(f"{fault.name}, seed {options.seed}: {report}")
    return not report.violations


def main() -> None:
    options = parse()
    with command.folder(keep=options.keep) as folder, cluster_under_test(folder, CONFIG, *OPTIONS) as cluster:
        chosen = [
            fault for fault in faults(cluster, Random(options.seed)) if not options.only or fault.name in options.only
        ]
        good = [asyncio.run(run(cluster, fault, options)) for fault in chosen]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
