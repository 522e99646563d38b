"""`python -m tests.robustness.inputs`: many generated requests, valid and invalid, over REST and gRPC."""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.inputs.drill import CONFIG, drill
from tests.support.cluster import running_cluster


def main() -> None:
    arguments = parser("tests.robustness.inputs", __doc__)
    arguments.add_argument(
        "--cases", type=int, default=10_000, help="generated requests, two thirds over REST and one over gRPC"
    )
    options = arguments.parse_args()
    with folder(keep=options.keep) as made, running_cluster(made, CONFIG) as cluster:
        report = asyncio.run(drill(cluster, options.cases, options.seed))
    print_line(f"seed {options.seed}: {report}")
    sys.exit(1 if report.violations else 0)


if __name__ == "__main__":
    main()
