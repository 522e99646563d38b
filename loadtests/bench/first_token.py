"""What stands between a client and the first token: added time, over workers that take the same time for it."""

from pathlib import Path
from statistics import median

from loadtests.bench import peers, routers
from loadtests.bench.asking import Asker, Load
from loadtests.bench.cluster import cluster
from loadtests.bench.direct import Direct
from loadtests.bench.figures import Found, Part, Row
from loadtests.target import Target

PACE_S = 0.020
CONFIG = f"""
pools:
  - name: bench
    model: simulated
    engine: {{kind: simulated, max_running: 64, step_ms: {1000 * PACE_S}, sequence_ms: 0, prefill_ms: 0}}
"""
MODEL = "bench"
LOAD = Load(requests=64, at_once=64, tokens=16, streamed=True)


async def measure(folder: Path, programs: Path, rounds: int) -> Found:
    """Raises DidNotStart, WrongAnswers."""
    with cluster(folder / "cluster-paced", CONFIG) as ours:
        through_us = await _ttft_ms(ours.target, rounds)
        async with Direct.to(ours.addresses["worker-1"]) as worker:
            engine = median([await worker.ttft_ms(LOAD) for _ in range(rounds + 1)][1:])
    with peers.mock_worker(PACE_S, folder / "mock-paced.log") as (worker_target, _):
        mock = await _ttft_ms(worker_target, rounds)
        theirs = {
            name: await _through(start(worker_target, MODEL, folder / f"{name}-paced.log"), rounds)
            for name, start in routers.installed(programs).items()
        }
    parts = [
        Part(what="first token through the cluster", unit="ms", value=through_us),
        Part(what="first token of the simulated worker itself", unit="ms", value=engine),
        Part(what="first token of the mock worker itself", unit="ms", value=mock),
    ]
    parts += [Part(what=f"first token through {name}", unit="ms", value=ttft) for name, ttft in theirs.items()]
    rows = [
        Row(
            what="added time to first token, 64 streams at once",
            unit="ms",
            peer=name,
            ours=through_us - engine,
            theirs=ttft - mock,
            goal=1.0 if name == "vllm-router" else None,
            wanted="at most",
        )
        for name, ttft in theirs.items()
    ]
    return Found(rows=rows, parts=parts)


async def _through(router: routers.Running, rounds: int) -> float:
    with router as (target, _):
        return await _ttft_ms(target, rounds)


async def _ttft_ms(target: Target, rounds: int) -> float:
    asker = Asker(target, MODEL, [])
    try:
        return median([(await asker.ask(LOAD)).ttft_ms for _ in range(rounds + 1)][1:])
    finally:
        asker.close()
