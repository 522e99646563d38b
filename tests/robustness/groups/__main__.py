"""`python -m tests.robustness.groups`: workers on two nodes answer as one does. Runs vLLM, on a CPU too.

This machine stands for both nodes. Weights change under streams, and a follower is killed: its worker is replaced as
a whole, and its streams go on at another worker.
"""

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from tests.robustness.architectures.kinds import KINDS, make
from tests.robustness.command import folder, parser, print_line
from tests.robustness.groups.drill import NEXT, SIMULATED, Setup, drill, prompts
from tests.support.cluster import running_cluster

_LLAMA = next(kind for kind in KINDS if kind.name == "llama")


def main() -> None:
    arguments = parser("tests.robustness.groups", __doc__)
    arguments.add_argument("--requests", type=int, default=16, help="different prompts (default: 16)")
    arguments.add_argument("--engine", choices=("vllm", "simulated"), default="vllm", help="default: vllm")
    arguments.add_argument("--workers", type=int, default=2, help="workers of two nodes (default: 2)")
    options = arguments.parse_args()
    with folder(keep=options.keep) as made:
        setup = SIMULATED if options.engine == "simulated" else vllm(made / "models")
        setup = replace(setup, workers=options.workers)
        home = made / "cluster"
        home.mkdir()
        with running_cluster(home, setup.config, *setup.options, foreground=True) as cluster:
            report = asyncio.run(drill(cluster, setup, prompts(options.requests, options.seed), options.seed))
    print_line(
        f"groups, seed {options.seed}: {report.same} of {report.asked} answers are those of one node;"
        f" {report.streams} streams, {report.of_second} of them of the second version ({report.proved} golden prompts"
        f" proved); a lost group was back after {report.recovery_s:.1f} s"
    )
    print_line("\n".join(report.violations) or "no violations")
    sys.exit(1 if report.violations else 0)


def vllm(models: Path) -> Setup:
    """A tiny Llama in two stages, one on each node. Two versions of it are made in the folder `models`."""
    first, second = (make(_LLAMA, models / name, seed) for seed, name in enumerate((_LLAMA.name, NEXT)))
    return Setup(
        engine="kind: vllm, dtype: float32, context_tokens: 256, kv_memory_gib: 0.1, max_running: 8",
        split=", pipeline_parallel: 2",
        model=_LLAMA.name,
        second=str(second),
        tokens=100,
        golden=True,
        options=("--model", str(first)),
    )


if __name__ == "__main__":
    main()
