"""`python -m tests.robustness.speculators`: SmolLM2 with and without speculators on vLLM; takes a quarter of an hour.

It trains two small draft models on SmolLM2's own answers. Then SmolLM2 runs alone, with n-grams, and with the first
draft model, which the second one replaces under eight streams. No answer may change.
"""

import asyncio
import sys
from pathlib import Path

from tests.robustness.command import folder, parser, print_line
from tests.robustness.speculators.drill import make_drafters, run
from trainer.sources.packaged import PackagedSmolLM2


def main() -> None:
    arguments = parser("tests.robustness.speculators", __doc__)
    arguments.add_argument("--train", type=float, default=300, help="seconds of training (default: 300)")
    arguments.add_argument("--questions", type=int, default=16, help="asked in each part (default: 16)")
    arguments.add_argument("--drafters", type=Path, help="a folder with `early` and `late` of an earlier run")
    options = arguments.parse_args()
    with folder(keep=options.keep) as made:
        (made / "target").mkdir()
        target = PackagedSmolLM2().prepare(made / "target")
        if options.drafters:
            drafters = options.drafters / "early", options.drafters / "late"
        else:
            drafters = make_drafters(made / "drafters", target, seconds=options.train, seed=options.seed)
        (made / "versions").mkdir()
        print_line("| speculation | accepted by position | tokens/s of 8 streams |\n|---|---|---|")
        seen = asyncio.run(
            run(
                made / "versions",
                target,
                drafters,
                questions_each=options.questions,
                seed=options.seed,
                tell=print_line,
            )
        )
    print_line(f"the speculator was replaced in {seen.swap_s:.2f} s")
    found = list(seen.wrong())
    print_line("\n".join(found) or "no violation")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
