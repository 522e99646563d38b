"""`python -m tests.robustness.streams`: the long drills, with figures."""

import argparse
import asyncio
import sys
import time
from math import inf

from loadtests.bench import models
from tests.robustness import command
from tests.robustness.arena import Arena, arena
from tests.robustness.streams import questions
from tests.robustness.streams.drill import OPTIONS, SIMULATED, VLLM, drill
from tests.robustness.streams.faults import Drained, Frozen, Killed, WorkerFault
from tests.robustness.verdict import judge


def parse() -> argparse.Namespace:
    parser = command.parser("tests.robustness.streams", __doc__)
    parser.add_argument("--kills", type=int, default=40, help="kill -9 of a worker")
    parser.add_argument("--freezes", type=int, default=0, help="SIGSTOP, and SIGCONT after longer than a lease")
    parser.add_argument("--drains", type=int, default=0, help="SIGTERM")
    parser.add_argument("--streams", type=int, default=50, help="open at any time")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between strikes, on average")
    parser.add_argument("--within", type=float, default=inf, help="seconds after which no worker is struck any more")
    parser.add_argument("--engine", choices=("simulated", "vllm"), default="simulated")
    return parser.parse_args()


async def run(built: Arena, fault: WorkerFault, strikes: int, until: float, told: argparse.Namespace) -> bool:
    real = told.engine == "vllm"
    asked = questions.questions(questions.VLLM if real else questions.SIMULATED, prompts=3, seed=told.seed)
    made = await drill(
        built,
        [fault],
        asked,
        streams=told.streams,
        strikes=strikes,
        every_s=told.every,
        seed=told.seed,
        rests=real,
        until=until,
    )
    verdict = judge(made)
    command.say(f"{fault.name}, seed {told.seed}: {verdict}")
    return not (verdict.complaints or verdict.late)


def _one_layer() -> tuple[str, str]:
    """The model that VLLM names: a small one, so that a worker that was killed is soon back."""
    return "--model", str(models.one_layer())


def main() -> None:
    began, told = time.monotonic(), parse()
    config, options = (SIMULATED, OPTIONS) if told.engine == "simulated" else (VLLM, (*OPTIONS, *_one_layer()))
    with command.folder(keep=told.keep) as folder, arena(folder, config, *options) as built:
        faults: list[tuple[type[WorkerFault], int]] = [
            (Killed, told.kills),
            (Frozen, told.freezes),
            (Drained, told.drains),
        ]
        until = began + told.within
        good = [
            asyncio.run(run(built, fault(built.crew), strikes, until, told)) for fault, strikes in faults if strikes
        ]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
