"""`python -m tests.robustness.gates`: rollouts of good and bad versions under load; routers are killed meanwhile.

Each version goes to one of two simulated workers first, so it gets half of the requests. With `--observed` it goes to
two of three, and the gates judge it while the last one stays.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from tests.robustness import command
from tests.robustness.cluster_under_test import cluster_under_test
from tests.robustness.gates.drill import OPTIONS, GateDrill, config
from tests.robustness.gates.kinds import FAILING, GOOD, SLOW, Kind

HOLD_BAD_S, HOLD_GOOD_S = 120.0, 25.0
"""How long a canary holds. One request in a hundred that fails takes longest to be found."""


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.gates", __doc__)
    parser.add_argument("--bad", type=int, default=3, help="versions of each bad kind")
    parser.add_argument("--good", type=int, default=20, help="versions that are as good as the one before")
    parser.add_argument("--rate", type=float, default=50.0, help="requests a second, to all workers together")
    parser.add_argument("--observed", action="store_true", help="rolling, with an observation, and no canary")
    return parser.parse_args()


def run(kinds: list[Kind], hold_s: float, options: argparse.Namespace) -> bool:
    """Every third rollout loses a router. Returns whether every version was judged right, and no request failed."""
    if not kinds:
        return True
    kills = [number % 3 == 1 for number in range(len(kinds))]
    with command.folder(keep=options.keep) as folder:
        (folder / "cluster").mkdir()
        with cluster_under_test(folder / "cluster", config(hold_s, observed=options.observed), *OPTIONS) as cluster:
            drill = GateDrill(
                cluster, Path(folder), per_second=options.rate, seed=options.seed, told=command.print_line
            )
            results = asyncio.run(drill.run(kinds, kills))
    for failure in drill.failures[:10]:
        command.print_line(f"a request failed: {failure}")
    return all(result.right for result in results) and not drill.failures


def main() -> None:
    options = parse()
    bad = run([SLOW, FAILING] * options.bad, HOLD_BAD_S, options)
    good = run([GOOD] * options.good, HOLD_GOOD_S, options)
    sys.exit(0 if bad and good else 1)


if __name__ == "__main__":
    main()
