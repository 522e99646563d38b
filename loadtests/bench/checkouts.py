"""CPU of two checkouts of Tidegate beside each other: what a change of the code costs or saves.

Both run the simulated engine inside their workers, so its CPU time is part of both figures.
"""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from loadtests.bench.cluster import THIS_CHECKOUT, cluster
from loadtests.bench.figures import Findings, Row
from loadtests.bench.load_generator import Load, RoundResult
from loadtests.bench.rounds import Rounds, in_turn, load_generators

MODEL = "bench"
CONFIG = """
pools:
  - name: bench
    model: simulated
    engine: {kind: simulated, max_running: 64, step_ms: 5, sequence_ms: 0, prefill_ms: 0}
"""
STREAMED = Load(requests=64, concurrency=64, tokens=256, streamed=True)
WHOLE = Load(requests=1_000, concurrency=32, tokens=8, streamed=False)
GOAL = 1.03


async def measure(folder: Path, other: Path, rounds: int) -> Findings:
    """Measures this checkout and another, in turn.

    Args:
        folder: Folder for the clusters.
        other: The other checkout, with a `.venv` of its own.
        rounds: Number of measured rounds of each load.

    Raises:
        ServerDidNotStart: A cluster did not start.
        RequestsFailed: A request failed.
    """
    with ExitStack() as running:
        clusters = [
            running.enter_context(cluster(folder / f"checkout-{at}", CONFIG, checkout=checkout))
            for at, checkout in enumerate((THIS_CHECKOUT, other))
        ]
        async with load_generators(MODEL, [(one.target, one.on_the_way) for one in clusters]) as generators:
            streamed = await in_turn(generators, STREAMED, rounds)
            whole = await in_turn(generators, WHOLE, rounds)
    return Findings(
        rows=[
            _row("a streamed token", lambda measured: measured.cpu_us_per_token, *streamed),
            _row("a request that is not streamed", lambda measured: measured.cpu_us_per_request, *whole),
        ]
    )


def _row(what: str, figure: Callable[[RoundResult], float], ours: Rounds, theirs: Rounds) -> Row:
    return Row(
        what=f"CPU of {what}: gateway, worker, router, Redis",
        unit="us",
        peer="the other checkout",
        ours=median(map(figure, ours)),
        theirs=median(map(figure, theirs)),
        goal=GOAL,
        wanted="at most",
    )
