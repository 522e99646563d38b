"""`python -m tests.robustness.streams`: workers are killed, frozen or drained while many streams are open."""

import argparse
import asyncio
import sys
import time
from math import inf

from loadtests.bench import models
from tests.robustness import command
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.robustness.invariant_checker import check
from tests.robustness.streams import requests
from tests.robustness.streams.drill import OPTIONS, SIMULATED, VLLM, drill
from tests.robustness.streams.faults import Drained, Frozen, Killed, WorkerFault


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.streams", __doc__)
    parser.add_argument("--kills", type=int, default=40, help="how many workers get `kill -9`")
    parser.add_argument(
        "--freezes", type=int, default=0, help="how many workers are stopped for longer than a lease (SIGSTOP, SIGCONT)"
    )
    parser.add_argument("--drains", type=int, default=0, help="how many workers get SIGTERM")
    parser.add_argument("--streams", type=int, default=50, help="streams that are always open")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between two faults, on average")
    parser.add_argument("--within", type=float, default=inf, help="no faults after so many seconds")
    parser.add_argument(
        "--engine", choices=("simulated", "vllm"), default="simulated", help="vllm: a model of one layer"
    )
    return parser.parse_args()


async def run(
    cluster: ClusterUnderTest, fault: WorkerFault, injections: int, until: float, options: argparse.Namespace
) -> bool:
    real = options.engine == "vllm"
    choices = requests.requests(requests.VLLM if real else requests.SIMULATED, prompts=3, seed=options.seed)
    run_log = await drill(
        cluster,
        [fault],
        choices,
        streams=options.streams,
        injections=injections,
        every_s=options.every,
        seed=options.seed,
        pauses=real,
        until=until,
    )
    report = check(run_log)
    command.print_line(f"{fault.name}, seed {options.seed}: {report}")
    return not (report.violations or report.late)


def _one_layer() -> tuple[str, str]:
    """The model of the configuration VLLM. It is small, so that a killed worker is soon back."""
    return "--model", str(models.one_layer())


def main() -> None:
    began, options = time.monotonic(), parse()
    config, up_options = (SIMULATED, OPTIONS) if options.engine == "simulated" else (VLLM, (*OPTIONS, *_one_layer()))
    with command.folder(keep=options.keep) as folder, cluster_under_test(folder, config, *up_options) as cluster:
        faults: list[tuple[type[WorkerFault], int]] = [
            (Killed, options.kills),
            (Frozen, options.freezes),
            (Drained, options.drains),
        ]
        until = began + options.within
        good = [
            asyncio.run(run(cluster, fault(cluster.injector), injections, until, options))
            for fault, injections in faults
            if injections
        ]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
