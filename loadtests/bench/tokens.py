"""Tokens of real engines: what each costs before and behind the engine, and how many come through.

The engine runs in a process of its own, here and with `vllm serve`, and is not weighed.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from statistics import median

import psutil

from loadtests.bench import peers, routers
from loadtests.bench.asking import Asker, Load, Measured
from loadtests.bench.cluster import Cluster, cluster
from loadtests.bench.figures import Found, Part, Row
from loadtests.target import Target

CONFIG = "pools: [{name: %s, model: %s, engine: %s}]\n"
WARM_UP = Load(requests=64, at_once=64, tokens=32, streamed=True)

Rounds = Sequence[Measured]


async def measure(folder: Path, programs: Path | None, model: Path, load: Load, rounds: int) -> Found:
    """programs: the routers' folder; without it, CPU is not compared. Raises DidNotStart, WrongAnswers."""
    name = model.name
    with ExitStack() as running:
        ours = running.enter_context(
            cluster(folder / f"cluster-{name}", CONFIG % (name, name, peers.POOL), "--model", str(model))
        )
        serve, api = running.enter_context(peers.vllm_serve(model, name, ours.worker, folder / f"serve-{name}.log"))
        asked: list[tuple[Target, Sequence[psutil.Process]]] = [(ours.target, _weighed(ours)), (serve, [api])]
        others = routers.installed(programs)
        for router, start in others.items():
            target, process = running.enter_context(start(serve, name, folder / f"{router}-{name}.log"))
            asked.append((target, [api, process]))
        async with _askers(name, asked) as askers:
            through_us, through_serve, *behind = await _in_turn(askers, load, rounds)
    return _found(name, through_us, through_serve, dict(zip(others, behind, strict=True)))


def _weighed(ours: Cluster) -> list[psutil.Process]:
    return [ours.processes[name] for name in ("gateway", "worker-1", "router-1", "redis")]


@asynccontextmanager
async def _askers(model: str, asked: Sequence[tuple[Target, Sequence[psutil.Process]]]) -> AsyncIterator[list[Asker]]:
    askers = [Asker(target, model, weighed) for target, weighed in asked]
    try:
        yield askers
    finally:
        for asker in askers:
            asker.close()


async def _in_turn(askers: Sequence[Asker], load: Load, rounds: int) -> list[Rounds]:
    """One after the other, again and again, so that what else the machine does hits all alike."""
    for asker in askers:
        await asker.ask(WARM_UP)
    found: list[list[Measured]] = [[] for _ in askers]
    for _ in range(rounds):
        for asker, measured in zip(askers, found, strict=True):
            measured.append(await asker.ask(load))
    return list(found)


def _found(model: str, ours: Rounds, serve: Rounds, behind: Mapping[str, Rounds]) -> Found:
    """behind: what `vllm serve` and a router before it came to, by the router's name."""
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
    return Found(rows=rows, parts=[*_parts(model, ours, serve, behind)])


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


def _us(measured: Measured, process: int) -> float:
    return 1e6 * measured.cpu_s[process] / measured.tokens


def _median(rounds: Rounds, figure: Callable[[Measured], float]) -> float:
    return median(figure(measured) for measured in rounds)
