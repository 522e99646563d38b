"""`python -m tests.robustness.parallel`: a model in several processes answers as in one. Runs vLLM, on a CPU too."""

import asyncio
import sys

from tests.robustness.command import folder, parser, print_line
from tests.robustness.parallel.drill import PARTS, WHOLE, Answer, answers, config, difference, prompts
from tests.support.cluster import running_cluster


def main() -> None:
    arguments = parser("tests.robustness.parallel", __doc__)
    arguments.add_argument("--requests", type=int, default=20, help="requests to each pool (default: 20)")
    options = arguments.parse_args()
    asked = prompts(options.requests, options.seed)
    given = {name: ask(name, asked, keep=options.keep) for name in (WHOLE, *PARTS)}
    differences = []
    for name in PARTS:
        pairs = list(zip(given[WHOLE], given[name], strict=True))
        differences += [f"{name}: {said}" for pair in pairs if (said := difference(*pair))]
        same = sum(whole.tokens == parts.tokens for whole, parts in pairs)
        print_line(f"{name}, seed {options.seed}: {same} of {len(pairs)} answers are the same, token for token")
    print_line("\n".join(differences) or "no difference but near ties")
    sys.exit(1 if differences else 0)


def ask(pool: str, asked: list[str], *, keep: bool) -> list[Answer]:
    """Starts a cluster with this pool alone, and asks it all."""
    with folder(keep=keep) as made, running_cluster(made, config(pool)) as cluster:
        return asyncio.run(answers(cluster, pool, asked))


if __name__ == "__main__":
    main()
