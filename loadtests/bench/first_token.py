"""The time that gateway and router add to the first token, beside other routers."""

from pathlib import Path
from statistics import median

from loadtests.bench import peers, routers
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Findings, Part, Row
from loadtests.bench.load_generator import Load, LoadGenerator
from loadtests.bench.worker_client import WorkerClient
from loadtests.target import Target

STEP_S = 0.020
CONFIG = f"""
pools:
  - name: bench
    model: simulated
    engine: {{kind: simulated, max_running: 64, step_ms: {1000 * STEP_S}, sequence_ms: 0, prefill_ms: 0}}
"""
MODEL = "bench"
LOAD = Load(requests=64, concurrency=64, tokens=16, streamed=True)


async def measure(folder: Path, programs: Path, rounds: int) -> Findings:
    """Measures through the cluster, through each installed router, and at the workers themselves.

    Raises:
        ServerDidNotStart: A server did not start.
        RequestsFailed: A request failed.
    """
    with cluster(folder / "cluster-paced", CONFIG) as ours:
        through_cluster = await _ttft_ms(ours.target, rounds)
        async with WorkerClient.to(ours.addresses["worker-1"]) as worker:
            engine = median([await worker.ttft_ms(LOAD) for _ in range(rounds + 1)][1:])
    with peers.mock_worker(STEP_S, folder / "mock-paced.log") as (worker_target, _):
        mock = await _ttft_ms(worker_target, rounds)
        theirs = {
            name: await _through(start(worker_target, MODEL, folder / f"{name}-paced.log"), rounds)
            for name, start in routers.installed(programs).items()
        }
    parts = [
        Part(what="first token through the cluster", unit="ms", value=through_cluster),
        Part(what="first token of the simulated worker itself", unit="ms", value=engine),
        Part(what="first token of the mock worker itself", unit="ms", value=mock),
    ]
    parts += [Part(what=f"first token through {name}", unit="ms", value=ttft) for name, ttft in theirs.items()]
    rows = [
        Row(
            what="added time to first token, 64 streams at once",
            unit="ms",
            peer=name,
            ours=through_cluster - engine,
            theirs=ttft - mock,
            goal=1.0 if name == "vllm-router" else None,
            wanted="at most",
        )
        for name, ttft in theirs.items()
    ]
    return Findings(rows=rows, parts=parts)


async def _through(router: routers.Running, rounds: int) -> float:
    with router as (target, _):
        return await _ttft_ms(target, rounds)


async def _ttft_ms(target: Target, rounds: int) -> float:
    generator = LoadGenerator(target, MODEL, [])
    try:
        return median([(await generator.run(LOAD)).ttft_ms for _ in range(rounds + 1)][1:])
    finally:
        generator.close()
