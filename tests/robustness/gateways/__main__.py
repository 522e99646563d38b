"""`python -m tests.robustness.gateways`: gateways leave and come back behind Traefik, under load."""

import argparse
import asyncio
import sys

from tests.robustness import command
from tests.robustness.arena import arena
from tests.robustness.gateways.drill import CONFIG, balanced, drill
from tests.robustness.verdict import judge


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.gateways", __doc__)
    parser.add_argument("--restarts", type=int, default=20)
    parser.add_argument("--streams", type=int, default=40, help="requests open at any time, streamed and not")
    return parser.parse_args()


def main() -> None:
    told = parse()
    with command.folder(keep=told.keep) as folder, arena(folder, CONFIG) as built, balanced(built, folder) as two:
        run = asyncio.run(drill(two, restarts=told.restarts, streams=told.streams, seed=told.seed))
    verdict = judge(run)
    command.say(f"restarted, seed {told.seed}: {verdict}")
    sys.exit(1 if verdict.complaints or verdict.late else 0)


if __name__ == "__main__":
    main()
