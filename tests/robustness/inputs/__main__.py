"""`python -m tests.robustness.inputs`: the long run, with figures."""

import asyncio
import sys

from tests.robustness.command import folder, parser, say
from tests.robustness.inputs.drill import CONFIG, drill
from tests.support.cluster import running_cluster


def main() -> None:
    told = parser("tests.robustness.inputs", __doc__)
    told.add_argument("--cases", type=int, default=10_000, help="half of them over REST, half over gRPC")
    asked = told.parse_args()
    with folder(keep=asked.keep) as made, running_cluster(made, CONFIG) as cluster:
        verdict = asyncio.run(drill(cluster, asked.cases, asked.seed))
    say(f"seed {asked.seed}: {verdict}")
    sys.exit(1 if verdict.complaints else 0)


if __name__ == "__main__":
    main()
