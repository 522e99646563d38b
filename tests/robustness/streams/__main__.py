"""`python -m tests.robustness.streams`: the long drills, with figures."""

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.robustness.router.drill import Arena
from tests.robustness.streams import questions
from tests.robustness.streams.drill import MODEL, SIMULATED, VLLM, arena, drill
from tests.robustness.streams.faults import Drained, Frozen, Killed, WorkerFault
from tests.robustness.streams.verdict import judge

CALM_S = 15.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.robustness.streams", description=__doc__)
    parser.add_argument("--kills", type=int, default=40, help="kill -9 of a worker")
    parser.add_argument("--freezes", type=int, default=0, help="SIGSTOP, and SIGCONT after longer than a lease")
    parser.add_argument("--drains", type=int, default=0, help="SIGTERM")
    parser.add_argument("--streams", type=int, default=50, help="open at any time")
    parser.add_argument("--every", type=float, default=1.0, help="seconds between strikes, on average")
    parser.add_argument("--engine", choices=("simulated", "vllm"), default="simulated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--keep", action="store_true", help="leave the cluster's folder, logs and all")
    return parser.parse_args()


async def run(built: Arena, fault: WorkerFault, strikes: int, told: argparse.Namespace) -> bool:
    parameters = questions.SIMULATED if told.engine == "simulated" else questions.VLLM
    asked = questions.questions(MODEL, parameters, prompts=3, seed=told.seed)
    made = await drill(built, [fault], asked, streams=told.streams, strikes=strikes, every_s=told.every, seed=told.seed)
    verdict = judge(made)
    sys.stdout.write(f"{fault.name}: {verdict}\n")
    sys.stdout.flush()
    return not (verdict.complaints or verdict.late)


def main() -> None:
    told = parse()
    folder = Path(tempfile.mkdtemp(prefix="drill-"))
    with arena(folder, SIMULATED if told.engine == "simulated" else VLLM) as built:
        faults: list[tuple[type[WorkerFault], int]] = [
            (Killed, told.kills),
            (Frozen, told.freezes),
            (Drained, told.drains),
        ]
        good = [asyncio.run(run(built, fault(built.crew), strikes, told)) for fault, strikes in faults if strikes]
    if told.keep:
        sys.stdout.write(f"logs are in {folder / '.tidegate/logs'}\n")
    else:
        shutil.rmtree(folder)
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
