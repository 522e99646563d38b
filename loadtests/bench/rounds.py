"""Measured rounds of several servers on one machine, in turn."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import psutil

from loadtests.bench.load_generator import Load, LoadGenerator, RoundResult
from loadtests.target import Target

WARM_UP_REQUESTS = 64
WARM_UP_TOKENS = 32

Rounds = Sequence[RoundResult]
"""All rounds of one server."""


@asynccontextmanager
async def load_generators(
    model: str, targets: Sequence[tuple[Target, Sequence[psutil.Process]]]
) -> AsyncIterator[list[LoadGenerator]]:
    """A load generator for each server and its measured processes; all are closed at the end."""
    generators = [LoadGenerator(target, model, processes) for target, processes in targets]
    try:
        yield generators
    finally:
        for generator in generators:
            generator.close()


async def in_turn(generators: Sequence[LoadGenerator], load: Load, rounds: int) -> list[Rounds]:
    """Runs the servers in turn, round after round, so that other load on the machine affects all alike.

    Each round has the order of the round before in reverse: what one server leaves behind (a warm cache, a quick
    processor) helps none of them more often than the others.
    """
    warm_up = replace(load, requests=WARM_UP_REQUESTS, tokens=min(load.tokens, WARM_UP_TOKENS))
    for generator in generators:
        await generator.run(warm_up)
    found: list[list[RoundResult]] = [[] for _ in generators]
    turns = list(zip(generators, found, strict=True))
    for _ in range(rounds):
        for generator, measured in turns:
            measured.append(await generator.run(load))
        turns.reverse()
    return list(found)
