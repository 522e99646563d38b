"""`python -m tests.robustness.router`: the long drills, with figures."""

import argparse
import asyncio
import sys
from random import Random

from tests.robustness import command
from tests.robustness.arena import Arena, arena
from tests.robustness.router.drill import CONFIG, OPTIONS, ROUTERS, drill
from tests.robustness.router.faults import Fault, Flushed, OutOfMemory, Paused, ReadOnly, RedisKilled, RouterKilled
from tests.robustness.router.verdict import judge

HEAL_S = 6.0


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.router", __doc__)
    parser.add_argument("--kills", type=int, default=60, help="of router replicas, one a second")
    parser.add_argument("--redis", type=int, default=10, help="times that Redis is killed, emptied, and so on")
    parser.add_argument("--rate", type=float, default=200, help="requests a second")
    parser.add_argument("--only", action="append", help="a fault to try, such as 'redis killed'")
    return parser.parse_args()


def faults(built: Arena, random: Random) -> list[Fault]:
    url = built.view.redis_url
    return [
        RouterKilled(built.crew, random, up=ROUTERS),
        RedisKilled(built.crew),
        Flushed(url),
        Paused(url),
        ReadOnly(url),
        OutOfMemory(url),
    ]


async def run(built: Arena, fault: Fault, told: argparse.Namespace) -> bool:
    # What came meanwhile has to be served as well before the next fault.
    heal_s = HEAL_S + 2 * fault.lasts_s
    every_s, strikes = (heal_s, told.redis) if fault.hides_redis else (1.0, told.kills)
    made = await drill(built, [fault], strikes=strikes, every_s=every_s, per_second=told.rate, seed=told.seed)
    verdict = judge(made)
    command.say(f"{fault.name}, seed {told.seed}: {verdict}")
    return not verdict.complaints


def main() -> None:
    told = parse()
    with command.folder(keep=told.keep) as folder, arena(folder, CONFIG, *OPTIONS) as built:
        chosen = [fault for fault in faults(built, Random(told.seed)) if not told.only or fault.name in told.only]
        good = [asyncio.run(run(built, fault, told)) for fault in chosen]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
