"""`python -m tests.robustness.publishing`: publishers are killed at random times; others race in pairs."""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.publishing.drill import drill


def main() -> None:
    arguments = parser("tests.robustness.publishing", __doc__)
    arguments.add_argument("--kills", type=int, default=200, help="publishers that are killed (default: 200)")
    arguments.add_argument("--races", type=int, default=100, help="pairs of publishers (default: 100)")
    options = arguments.parse_args()
    with folder(keep=options.keep) as made:
        report = asyncio.run(drill(made, options.kills, options.races, options.seed))
    print_line(
        f"publishing, seed {options.seed}: {report.kills} publishers killed, {report.whole} of them after their version"
        f" was whole (a publish takes {report.publish_s:.1f} s); {report.races} races"
    )
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
