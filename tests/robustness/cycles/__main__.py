"""`python -m tests.robustness.cycles`: versions are published and rolled out under load, one after the other.

Three simulated workers, a hundred streamed requests per second. No request may fail, and every piece of an answer must
be what the version that it names says there: also after prompts that another version had cached.
"""

import asyncio
import sys
from statistics import median

from tests.robustness.command import folder, parser, print_line
from tests.robustness.cycles.drill import OPTIONS, Report, config, drill
from tests.support.cluster import running_cluster


def main() -> None:
    arguments = parser("tests.robustness.cycles", __doc__)
    arguments.add_argument("--cycles", type=int, default=100, help="versions (default: 100)")
    arguments.add_argument("--workers", type=int, default=3, help="simulated workers (default: 3)")
    arguments.add_argument("--rate", type=float, default=100, help="requests per second (default: 100)")
    options = arguments.parse_args()
    with (
        folder(keep=options.keep) as made,
        running_cluster(made, config(options.workers), *OPTIONS, foreground=True) as cluster,
    ):
        report = asyncio.run(drill(cluster, options.cycles, options.rate, options.seed))
    print_line(f"cycles, seed {options.seed}: {_told(report)}")
    violations = report.violations()
    print_line("\n".join(violations) or "no violations")
    sys.exit(1 if violations else 0)


def _told(report: Report) -> str:
    rolled = sorted(cycle.rolled_s for cycle in report.cycles)
    published = [cycle.published_s for cycle in report.cycles if cycle.published_s]
    asked, made = len(report.load.answers), report.load
    return (
        f"{len(rolled)} rollouts, {len(published)} of them to a version that was just published; {asked} requests in"
        f" {report.seconds:.0f} s ({asked / report.seconds:.0f} a second), of which {made.cached} found cached KV;"
        f" {made.crossings} times an answer went on with another version; a publish took {median(published):.1f} s, a"
        f" rollout {median(rolled):.1f} s (longest {rolled[-1]:.1f}); the longest gap in a request"
        f" {made.longest_s:.2f} s"
    )


if __name__ == "__main__":
    main()
