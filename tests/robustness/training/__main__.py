"""`python -m tests.robustness.training`: runs on one and two processes are killed at random moments, and compared."""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.training.drill import METHODS, drill


def main() -> None:
    arguments = parser("tests.robustness.training", __doc__)
    arguments.add_argument("--steps", type=int, default=40, help="of each run (default: 40)")
    arguments.add_argument("--kills", type=int, default=20, help="of each run (default: 20)")
    arguments.add_argument("--processes", default="1,2", help="how many learn together, with commas (default: 1,2)")
    arguments.add_argument("--method", action="append", choices=list(METHODS), help="default: all of them")
    options = arguments.parse_args()
    counts = [int(count) for count in options.processes.split(",")]
    violations = []
    with folder(keep=options.keep) as made:
        for number, name in enumerate(options.method or METHODS):
            own = asyncio.run(drill(made / str(number), name, counts, options.steps, options.kills, options.seed))
            for report in own:
                print_line(report.line())
                violations += [f"{report.name}, {report.processes}: {what}" for what in report.violations]
    print_line("\n".join(violations) or "no violations")
    sys.exit(1 if violations else 0)


if __name__ == "__main__":
    main()
