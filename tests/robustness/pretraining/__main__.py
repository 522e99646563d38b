"""`python -m tests.robustness.pretraining`: a small model is pretrained, killed at random, and compared."""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.pretraining.drill import drill


def main() -> None:
    arguments = parser("tests.robustness.pretraining", __doc__)
    arguments.add_argument("--steps", type=int, default=300, help="of the run (default: 300)")
    arguments.add_argument("--kills", type=int, default=20, help="how often it is killed (default: 20)")
    options = arguments.parse_args()
    with folder(keep=options.keep) as made:
        report = asyncio.run(drill(made, options.steps, options.kills, options.seed))
    print_line(
        f"pretraining, seed {options.seed}: {report.steps} steps, loss {report.first:.3f} -> {report.last:.3f};"
        f" at most {report.furthest:.4%} from a plain loop ({report.train_s:.0f} s with start and measuring, and"
        f" {report.plain_s:.0f} s); killed {report.kills} times; sft on it {report.chats[0]:.3f} ->"
        f" {report.chats[1]:.3f}"
    )
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
