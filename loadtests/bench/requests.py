"""Requests that are not streamed, through the queue: how many a core of the gateway carries."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

from loadtests.bench import peers, routers
from loadtests.bench.asking import Asker, Load, Measured
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Found, Part, Row
from loadtests.bench.floor import floor

CONFIG = """
pools:
  - name: bench
    model: simulated
    engine: {kind: simulated, max_running: 32, step_ms: 0, sequence_ms: 0, prefill_ms: 0}
"""
MODEL = "bench"
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
        through_us = await _rounds(Asker(ours.target, MODEL, processes), rounds)
        least = await _through(floor(ours.addresses["router-1"], folder / "floor.log"), rounds)
    with peers.mock_worker(0.0, folder / "mock-quick.log") as (worker, _):
        theirs = {
            name: await _through(start(worker, MODEL, folder / f"{name}-quick.log"), rounds)
            for name, start in routers.installed(programs).items()
        }
    per_core = _per_core(through_us)
    rows = [
        _row(per_core, theirs["vllm-router"] * PRODUCTION_STACK, "production-stack, by its ratio to vllm-router", 3.0)
    ]
    rows += [_row(per_core, figure, name) for name, figure in theirs.items()]
    told = "CPU of a request, the least that a gateway in Python takes (floor.py)"
    return Found(rows=rows, parts=[*_parts(through_us), Part(what=told, unit="us", value=1e6 / least)])


def _row(ours: float, theirs: float, peer: str, goal: float | None = None) -> Row:
    what, unit = "requests not streamed, a second and gateway core", "requests/s"
    return Row(what=what, unit=unit, peer=peer, ours=ours, theirs=theirs, goal=goal, wanted="at least")


def _parts(through_us: Sequence[Measured]) -> Iterator[Part]:
    for at, name in enumerate(("gateway", "worker", "router", "Redis")):
        us = median(1e6 * measured.cpu_s[at] / len(measured.samples) for measured in through_us)
        yield Part(what=f"CPU of a request, {name}", unit="us", value=us)


async def _through(router: routers.Running, rounds: int) -> float:
    with router as (target, process):
        return _per_core(await _rounds(Asker(target, MODEL, [process]), rounds))


def _per_core(measured: Sequence[Measured]) -> float:
    return median(len(of.samples) / of.cpu_s[0] for of in measured)


async def _rounds(asker: Asker, rounds: int) -> list[Measured]:
    try:
        await asker.ask(WARM_UP)
        return [await asker.ask(LOAD) for _ in range(rounds)]
    finally:
        asker.close()
