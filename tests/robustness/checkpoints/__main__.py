"""`python -m tests.robustness.checkpoints`: a worker is ordered to load mutated checkpoints; it refuses every one."""

import asyncio
import sys

from tests.robustness.checkpoints.drill import drill
from tests.robustness.command import folder, parser, print_line


def main() -> None:
    arguments = parser("tests.robustness.checkpoints", __doc__)
    arguments.add_argument("--count", type=int, default=1000, help="checkpoints (default: 1000)")
    options = arguments.parse_args()
    with folder(keep=options.keep) as made:
        report = asyncio.run(drill(made, options.count, options.seed))
    kinds = ", ".join(f"{kind} {count}" for kind, count in report.refused.items())
    print_line(f"checkpoints, seed {options.seed}: {report.refused.total()} refused ({kinds})")
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
