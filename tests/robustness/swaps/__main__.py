"""`python -m tests.robustness.swaps`: no long answer stops a rollout, and nobody waits for one.

Rollouts in each mode under three answers of two minutes each, on the simulated engine: undisturbed, while a client
leaves, while a router is killed, and while a worker is killed. Every piece of an answer must be what the version that
it names says there.
"""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.swaps.drill import config, drill
from tests.support.cluster import running_cluster


def main() -> None:
    arguments = parser("tests.robustness.swaps", __doc__)
    arguments.add_argument("--rollouts", type=int, default=24, help="how many (default: 24)")
    arguments.add_argument("--workers", type=int, default=1, help="of the pool (default: 1)")
    options = arguments.parse_args()
    with (
        folder(keep=options.keep) as made,
        running_cluster(made, config(options.workers), "--routers", "2", foreground=True) as cluster,
    ):
        report = asyncio.run(drill(cluster, options.rollouts, options.seed))
    waits = dict(report.waits)
    for name, seconds in report.rollouts:
        print_line(f"{name}: {seconds:.1f} s, longest wait of a short request {waits.get(name, 0):.1f} s")
    print_line(f"swaps, seed {options.seed}: {report.crossings} times a long answer went on with another version")
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
