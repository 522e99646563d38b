"""CPU of two checkouts of Tidegate beside each other: what a change of the code costs or saves.

Both run the simulated engine inside their workers, so its CPU time is part of both figures.
"""

from collections.abc import Callable, Sequence
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
STARTS = 3
"""Two clusters of the same code differ by some percent, so each side is started so often."""


async def measure(folder: Path, other: Path, rounds: int) -> Findings:
    """Measures this checkout and another, in turn.

    Args:
        folder: Folder for the clusters.
        other: The other checkout, with a `.venv` of its own.
        rounds: Number of measured rounds of each load, for each start.

    Raises:
        ServerDidNotStart: A cluster did not start.
        RequestsFailed: A request failed.
    """
    starts = [await _of_one_start(folder, number, other, rounds) for number in range(STARTS)]
    return Findings(
        rows=[
            _row("a streamed token", lambda measured: measured.cpu_us_per_token, [start[STREAMED] for start in starts]),
            _row(
                "a request that is not streamed",
                lambda measured: measured.cpu_us_per_request,
                [start[WHOLE] for start in starts],
            ),
        ]
    )


async def _of_one_start(folder: Path, number: int, other: Path, rounds: int) -> dict[Load, list[Rounds]]:
    """Starts both sides and measures each load. The rounds of this checkout come first."""
    with ExitStack() as running:
        clusters = [
            running.enter_context(cluster(folder / f"start-{number}-{at}", CONFIG, checkout=checkout))
            for at, checkout in enumerate((THIS_CHECKOUT, other))
        ]
        async with load_generators(MODEL, [(one.target, one.on_the_way) for one in clusters]) as generators:
            return {load: await in_turn(generators, load, rounds) for load in (STREAMED, WHOLE)}


def _row(what: str, figure: Callable[[RoundResult], float], starts: Sequence[Sequence[Rounds]]) -> Row:
    ours, theirs = (median(figure(measured) for start in starts for measured in start[side]) for side in (0, 1))
    return Row(
        what=f"CPU of {what}: gateway, worker, router, Redis",
        unit="us",
        peer="the other checkout",
        ours=ours,
        theirs=theirs,
        goal=GOAL,
        wanted="at most",
    )
