"""`python -m tests.robustness.parallel`: a model in several processes answers as in one. Runs vLLM, on a CPU too.

One of the processes is killed: the worker is replaced as a whole, and answers as before.
"""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.parallel.drill import PARTS, WHOLE, Answer, answers, config, difference, lose_a_part, prompts
from tests.support.cluster import RunningCluster, running_cluster


def main() -> None:
    arguments = parser("tests.robustness.parallel", __doc__)
    arguments.add_argument("--requests", type=int, default=20, help="requests to each pool (default: 20)")
    options = arguments.parse_args()
    asked = prompts(options.requests, options.seed)
    (expected,) = ask(WHOLE, asked, keep=options.keep)
    differences = []
    for name in PARTS:
        for when, given in zip(("", " after a loss"), ask(name, asked, keep=options.keep), strict=True):
            pairs = list(zip(expected, given, strict=True))
            differences += [f"{name}{when}: {said}" for pair in pairs if (said := difference(*pair))]
            same = sum(whole.tokens == parts.tokens for whole, parts in pairs)
            print_line(f"{name}{when}, seed {options.seed}: {same} of {len(pairs)} answers are the same")
    print_line("\n".join(differences) or "no difference but near ties")
    sys.exit(1 if differences else 0)


def ask(pool: str, asked: list[str], *, keep: bool) -> list[list[Answer]]:
    """Starts a cluster with this pool alone and asks it. A pool of several processes loses one, and is asked again."""
    with folder(keep=keep) as made, running_cluster(made, config(pool)) as cluster:
        return asyncio.run(_ask(cluster, pool, asked))


async def _ask(cluster: RunningCluster, pool: str, asked: list[str]) -> list[list[Answer]]:
    given = [await answers(cluster, pool, asked)]
    if pool in PARTS:
        await lose_a_part(cluster)
        given.append(await answers(cluster, pool, asked))
    return given


if __name__ == "__main__":
    main()
