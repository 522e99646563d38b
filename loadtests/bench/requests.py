"""Requests per second and gateway core, without streaming, beside other routers."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from loadtests.bench import peers, routers
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Findings, Part, Row
from loadtests.bench.load_generator import Load, LoadGenerator, RoundResult
from loadtests.bench.minimal_gateway import minimal_gateway

CONFIG = """
pools:
  - name: bench
    model: simulated
    engine: {kind: simulated, max_running: 32, step_ms: 0, sequence_ms: 0, prefill_ms: 0}
"""
MODEL = "bench"
LOAD = Load(requests=2_000, concurrency=32, tokens=8, streamed=False)
WARM_UP = Load(requests=200, concurrency=32, tokens=8, streamed=False)

PRODUCTION_STACK = 921 / 12_454
"""Requests per second of production-stack's router divided by those of vllm-router.

Measured once with one mock worker and 32 concurrent requests, because no package index has production-stack. One core
limits its router; vllm-router used less than one core, so the comparison by core favours production-stack."""


async def measure(folder: Path, programs: Path, rounds: int) -> Findings:
    """Measures the cluster, a minimal gateway, and each installed router.

    Raises:
        ServerDidNotStart: A server did not start.
        RequestsFailed: A request failed.
    """
    with cluster(folder / "cluster-quick", CONFIG) as ours:
        processes = ours.on_the_way
        through_cluster = await _rounds(LoadGenerator(ours.target, MODEL, processes), rounds)
        least = await _through(minimal_gateway(ours.addresses["router-1"], folder / "minimal-gateway.log"), rounds)
    with peers.mock_worker(0.0, folder / "mock-quick.log") as (worker, _):
        theirs = {
            name: await _through(start(worker, MODEL, folder / f"{name}-quick.log"), rounds)
            for name, start in routers.installed(programs).items()
        }
    per_core = _per_core(through_cluster)
    rows = [
        _row(per_core, theirs["vllm-router"] * PRODUCTION_STACK, "production-stack, by its ratio to vllm-router", 3.0)
    ]
    rows += [_row(per_core, figure, name) for name, figure in theirs.items()]
    least_name = "CPU of a request, the least that a gateway in Python takes (minimal_gateway.py)"
    return Findings(rows=rows, parts=[*_parts(through_cluster), Part(what=least_name, unit="us", value=1e6 / least)])


def _row(ours: float, theirs: float, peer: str, goal: float | None = None) -> Row:
    what, unit = "requests not streamed, a second and gateway core", "requests/s"
    return Row(what=what, unit=unit, peer=peer, ours=ours, theirs=theirs, goal=goal, wanted="at least")


def _parts(through_cluster: Sequence[RoundResult]) -> Iterator[Part]:
    for at, name in enumerate(("gateway", "worker", "router", "Redis")):
        us = median(1e6 * measured.cpu_s[at] / len(measured.samples) for measured in through_cluster)
        yield Part(what=f"CPU of a request, {name}", unit="us", value=us)


async def _through(router: routers.Running, rounds: int) -> float:
    with router as (target, process):
        return _per_core(await _rounds(LoadGenerator(target, MODEL, [process]), rounds))


def _per_core(measured: Sequence[RoundResult]) -> float:
    return median(len(of.samples) / of.cpu_s[0] for of in measured)


async def _rounds(generator: LoadGenerator, rounds: int) -> list[RoundResult]:
    try:
        await generator.run(WARM_UP)
        return [await generator.run(LOAD) for _ in range(rounds)]
    finally:
        generator.close()
