"""The whole of a request beside other servers: CPU of every process that is not the engine, and the first of a burst.

The engine runs in a process of its own, in our worker and in `vllm serve`. Its model has one layer, so it costs little.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import psutil

from loadtests.bench import models, peers, routers
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Findings, Part, Row
from loadtests.bench.load_generator import Load, RoundResult
from loadtests.bench.rounds import Rounds, in_turn, load_generators
from loadtests.target import EMBEDDINGS, Target

GENERATES = f"pools: [{{name: one-layer, model: one-layer, engine: {peers.POOL}}}]\n"
EMBEDS = GENERATES.replace("kind: vllm", "kind: vllm, runner: pooling")
OURS = ("gateway", "worker front end", "router", "Redis")
GOALS_OF = "vllm-router"
"""The router that the goals name, in front of `vllm serve`."""


@dataclass(frozen=True, slots=True)
class Case:
    """A load, and the goal for our CPU of a request divided by theirs."""

    what: str
    load: Load
    goal: float | None = None


CASES = (
    Case("24 tokens in one piece", Load(requests=256, concurrency=32, tokens=24, streamed=False), 0.6),
    Case("256 tokens in one piece", Load(requests=64, concurrency=64, tokens=256, streamed=False), 0.4),
    Case("24 tokens streamed", Load(requests=256, concurrency=32, tokens=24, streamed=True), 0.6),
    Case("256 tokens streamed", Load(requests=64, concurrency=64, tokens=256, streamed=True), 0.4),
)
BURST = Case("first of 24 tokens, 64 streams at once", Load(requests=64, concurrency=64, tokens=24, streamed=True), 1.0)
EMBEDDING = Case("a text embedded", Load(requests=256, concurrency=32, tokens=0, streamed=False, path=EMBEDDINGS))
BURSTS_A_ROUND = 3
"""A burst is short, so more of them are measured."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to the engine, and the processes on it that are not the engine."""

    name: str
    target: Target
    processes: Sequence[psutil.Process]


async def measure(folder: Path, programs: Path | None, rounds: int) -> Findings:
    """Measures the cluster, `vllm serve`, and `vllm serve` behind each installed router.

    Args:
        folder: Folder for logs and the clusters.
        programs: Folder with the routers' programs. None: no routers, and no goals.
        rounds: Number of measured rounds of each load.

    Raises:
        ServerDidNotStart: A server did not start.
        RequestsFailed: A request failed.
    """
    found = Findings()
    with ExitStack() as running:
        sides = _sides(running, folder, programs, GENERATES)
        for case in CASES:
            measured = await _measured(sides, case.load, rounds)
            found.rows += _cpu_rows(case, sides, measured)
            found.parts += _parts(case, sides, measured)
        bursts = await _measured(sides, BURST.load, rounds * BURSTS_A_ROUND)
        found.rows += _rows(BURST, "ms", sides, bursts, lambda measured: measured.ttft_ms)
    with ExitStack() as running:
        # Routers are left out: not every one of them knows embeddings.
        sides = _sides(running, folder, None, EMBEDS, "--runner", "pooling")
        measured = await _measured(sides, EMBEDDING.load, rounds)
        found.rows += _cpu_rows(EMBEDDING, sides, measured)
        found.parts += _parts(EMBEDDING, sides, measured)
    return found


def _sides(running: ExitStack, folder: Path, programs: Path | None, config: str, *options: str) -> list[Side]:
    """Starts everything. The first side is ours. options: more of `vllm serve`."""
    model = models.one_layer()
    kind = "embeds" if options else "generates"
    ours = running.enter_context(cluster(folder / f"whole-{kind}", config, "--model", str(model)))
    log = folder / f"serve-{kind}.log"
    serve, api = running.enter_context(peers.vllm_serve(model, model.name, ours.worker, log, *options))
    sides = [Side("ours", ours.target, ours.on_the_way), Side("vllm serve", serve, [api])]
    for router, start in routers.installed(programs).items():
        target, process = running.enter_context(start(serve, model.name, folder / f"{router}-whole.log"))
        sides.append(Side(router, target, [api, process]))
    return sides


async def _measured(sides: Sequence[Side], load: Load, rounds: int) -> list[Rounds]:
    targets = [(side.target, side.processes) for side in sides]
    async with load_generators(models.one_layer().name, targets) as generators:
        return await in_turn(generators, load, rounds)


def _cpu_rows(case: Case, sides: Sequence[Side], measured: Sequence[Rounds]) -> list[Row]:
    return _rows(case, "us of CPU", sides, measured, lambda result: result.cpu_us_per_request)


def _rows(
    case: Case, unit: str, sides: Sequence[Side], measured: Sequence[Rounds], figure: Callable[[RoundResult], float]
) -> list[Row]:
    ours = median(map(figure, measured[0]))
    return [
        Row(
            what=case.what,
            unit=unit,
            peer="vllm serve" if side.name == "vllm serve" else f"vllm serve behind {side.name}",
            ours=ours,
            theirs=median(map(figure, rounds)),
            goal=case.goal if side.name == GOALS_OF else None,
            wanted="at most",
        )
        for side, rounds in zip(sides[1:], measured[1:], strict=True)
    ]


def _parts(case: Case, sides: Sequence[Side], measured: Sequence[Rounds]) -> list[Part]:
    """Where our CPU went, and how many tokens a second went through."""
    parts = [
        Part(
            what=f"{case.what}: {name}",
            unit="us of CPU",
            value=median(1e6 * result.cpu_s[at] / len(result.samples) for result in measured[0]),
        )
        for at, name in enumerate(OURS)
    ]
    if case.load.tokens:
        parts += [
            Part(
                what=f"{case.what}: through {side.name}",
                unit="tokens/s",
                value=median(result.tokens_per_s for result in rounds),
            )
            for side, rounds in zip(sides, measured, strict=True)
        ]
    return parts
