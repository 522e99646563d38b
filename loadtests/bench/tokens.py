"""Tokens per second through the cluster, beside `vllm serve` with the same engine."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from loadtests.bench import peers
from loadtests.bench.cluster import cluster
from loadtests.bench.figures import Findings, Part, Row
from loadtests.bench.load_generator import Load, RoundResult
from loadtests.bench.rounds import Rounds, in_turn, load_generators

CONFIG = "pools: [{name: %s, model: %s, engine: %s}]\n"


async def measure(folder: Path, model: Path, load: Load, rounds: int) -> Findings:
    """Measures the cluster and `vllm serve`.

    Args:
        folder: Folder for logs and the cluster.
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
        async with load_generators(name, [(ours.target, ours.on_the_way), (serve, [api])]) as generators:
            return _found(name, *await in_turn(generators, load, rounds))


def _found(model: str, ours: Rounds, serve: Rounds) -> Findings:
    row = Row(
        what=f"tokens through the cluster, {model}",
        unit="tokens/s",
        peer="vllm serve",
        ours=_median(ours, lambda m: m.tokens_per_s),
        theirs=_median(serve, lambda m: m.tokens_per_s),
        goal=1.0,
        wanted="at least",
    )
    parts = [
        part
        for name, rounds in (("ours", ours), ("vllm serve", serve))
        for part in (
            Part(
                what=f"tokens an event, {name}, {model}", unit="", value=_median(rounds, lambda m: m.tokens_per_event)
            ),
            Part(what=f"longest gap, {name}, {model}", unit="ms", value=_median(rounds, lambda m: m.longest_gap_ms)),
        )
    ]
    return Findings(rows=[row], parts=parts)


def _median(rounds: Rounds, figure: Callable[[RoundResult], float]) -> float:
    return median(figure(measured) for measured in rounds)
