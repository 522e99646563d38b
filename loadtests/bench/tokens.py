"""CPU time of each streamed token outside the engine, and throughput, with real engines.

The engine runs in a process of its own, in our worker and in `vllm serve`, and its CPU time is not measured.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import psutil

from loadtests.bench import peers, routers
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Findings, Part, Row
from loadtests.bench.load_generator import Load, RoundResult
from loadtests.bench.rounds import Rounds, in_turn, load_generators
from loadtests.target import Target

CONFIG = "pools: [{name: %s, model: %s, engine: %s}]\n"


async def measure(folder: Path, programs: Path | None, model: Path, load: Load, rounds: int) -> Findings:
    """Measures the cluster, `vllm serve`, and `vllm serve` behind each installed router.

    Args:
        folder: Folder for logs and the cluster.
        programs: Folder with the routers' programs. None: no routers, and CPU is not compared.
        model: Folder of the model.
        load: The load of each round.
        rounds: Number of measured rounds.

    Raises:
        ServerDidNotStart: A server did not start.
        RequestsFailed: A request failed.
    """
    name = model.name
    with ExitStack() as running:
        ours = running.enter_context(
            cluster(folder / f"cluster-{name}", CONFIG % (name, name, peers.POOL), "--model", str(model))
        )
        serve, api = running.enter_context(peers.vllm_serve(model, name, ours.worker, folder / f"serve-{name}.log"))
        targets: list[tuple[Target, Sequence[psutil.Process]]] = [
            (ours.target, ours.on_the_way),
            (serve, [api]),
        ]
        others = routers.installed(programs)
        for router, start in others.items():
            target, process = running.enter_context(start(serve, name, folder / f"{router}-{name}.log"))
            targets.append((target, [api, process]))
        async with load_generators(name, targets) as generators:
            through_cluster, through_serve, *behind = await in_turn(generators, load, rounds)
    return _found(name, through_cluster, through_serve, dict(zip(others, behind, strict=True)))


def _found(model: str, ours: Rounds, serve: Rounds, behind: Mapping[str, Rounds]) -> Findings:
    """`behind`: the rounds of `vllm serve` behind a router, by the router's name."""
    rows = [
        Row(
            what=f"tokens through the cluster, {model}",
            unit="tokens/s",
            peer="vllm serve",
            ours=_median(ours, lambda m: m.tokens_per_s),
            theirs=_median(serve, lambda m: m.tokens_per_s),
            goal=1.0,
            wanted="at least",
        )
    ]
    rows += [
        Row(
            what=f"CPU per streamed token, gateway and worker front end, {model}",
            unit="us",
            peer=f"vllm serve behind {router}",
            ours=_median(ours, lambda m: _us(m, 0) + _us(m, 1)),
            theirs=_median(rounds, lambda m: m.cpu_us_per_token),
            goal=0.5 if router == "vllm-router" else None,
            wanted="at most",
        )
        for router, rounds in behind.items()
    ]
    return Findings(rows=rows, parts=[*_parts(model, ours, serve, behind)])


def _parts(model: str, ours: Rounds, serve: Rounds, behind: Mapping[str, Rounds]) -> list[Part]:
    names = ("gateway", "worker front end", "router", "Redis")
    parts = [
        Part(what=f"of it {name}, {model}", unit="us", value=median(_us(measured, at) for measured in ours))
        for at, name in enumerate(names)
    ]
    for name, rounds in (("ours", ours), ("vllm serve", serve)):
        parts += [
            Part(
                what=f"tokens an event, {name}, {model}", unit="", value=_median(rounds, lambda m: m.tokens_per_event)
            ),
            Part(what=f"longest gap, {name}, {model}", unit="ms", value=_median(rounds, lambda m: m.longest_gap_ms)),
        ]
    for router, rounds in behind.items():
        serve_us = _median(rounds, lambda m: _us(m, 0))
        parts.append(Part(what=f"vllm serve's API process behind {router}, {model}", unit="us", value=serve_us))
    return parts


def _us(measured: RoundResult, process: int) -> float:
    return 1e6 * measured.cpu_s[process] / measured.tokens


def _median(rounds: Rounds, figure: Callable[[RoundResult], float]) -> float:
    return median(figure(measured) for measured in rounds)
