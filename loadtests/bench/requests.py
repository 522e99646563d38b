"""Requests that are not streamed, through the queue: how many a core of the gateway carries."""

from pathlib import Path
from statistics import median

from loadtests.bench import peers
from loadtests.bench.asking import Asker, Load, Measured
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Found, Part, Row

CONFIG = """
pools:
  - name: bench
    model: simulated
    engine: {kind: simulated, max_running: 32, step_ms: 0, sequence_ms: 0, prefill_ms: 0}
"""
LOAD = Load(requests=2_000, at_once=32, tokens=8, streamed=False)
WARM_UP = Load(requests=200, at_once=32, tokens=8, streamed=False)

PRODUCTION_STACK = 921 / 12_454
"""Requests per second of production-stack's router, which one core limits, for each of vllm-router's: measured once
over one mock worker, 32 at once, as no package index has production-stack. Cores are compared with cores, which is
to its advantage: vllm-router had less than one."""


async def measure(folder: Path, programs: Path, rounds: int) -> Found:
    """Raises DidNotStart, WrongAnswers."""
    with cluster(folder / "cluster-quick", CONFIG) as ours:
        processes = [ours.processes[name] for name in ("gateway", "worker-1", "router-1", "redis")]
        through_us = await _rounds(Asker(ours.target, "bench", processes), rounds)
    with peers.mock_worker(0.0, folder / "mock-quick.log") as (worker, _):  # noqa: SIM117 (one after the other)
        with peers.vllm_router(programs, worker, folder / "vllm-router-quick.log") as (router, process):
            through_router = await _rounds(Asker(router, "bench", [process]), rounds)
    theirs = median(len(measured.samples) / measured.cpu_s[0] for measured in through_router)
    per_core = [len(measured.samples) / measured.cpu_s[0] for measured in through_us]
    row = Row(
        what="requests not streamed, a second and gateway core",
        unit="requests/s",
        peer="production-stack, by its ratio to vllm-router",
        ours=median(per_core),
        theirs=theirs * PRODUCTION_STACK,
        goal=3.0,
        wanted="at least",
    )
    parts = [Part(what="through vllm-router, a core of it", unit="requests/s", value=theirs)]
    for at, name in enumerate(("gateway", "worker", "router", "Redis")):
        us = median(1e6 * measured.cpu_s[at] / len(measured.samples) for measured in through_us)
        parts.append(Part(what=f"CPU of a request, {name}", unit="us", value=us))
    return Found(rows=[row], parts=parts)


async def _rounds(asker: Asker, rounds: int) -> list[Measured]:
    try:
        await asker.ask(WARM_UP)
        return [await asker.ask(LOAD) for _ in range(rounds)]
    finally:
        asker.close()
