"""Placement with full knowledge of every cache and of every answer's length: where the request would end first.

It knows what no router knows, and has neither classes nor a queue: a mark to measure hit rate and throughput by.
"""

import heapq
from collections.abc import Sequence as Series
from dataclasses import dataclass

from loadtests.simulator.ask import Ask
from loadtests.simulator.engine import Answering, Engine


@dataclass(frozen=True)
class Oracle:
    """Chooses the worker where the request would end first."""

    fleet: Series[Engine]

    def place(self, ask: Ask, open_requests: list[int]) -> int:
        """Chooses a worker."""
        return min(range(len(self.fleet)), key=lambda worker: self._ends_ms(self.fleet[worker], ask))

    def _ends_ms(self, engine: Engine, ask: Ask) -> float:
        """When it would end (ms from now). Decoding takes full steps; every prefill delays all that runs."""
        config = engine.config
        running = engine.scheduler.running
        waiting = engine.scheduler.waiting
        sequences = min(config.max_running, engine.sequences + 1)
        step_ms = config.step_ms + config.sequence_ms * sequences
        fresh = ask.prompt_tokens - _cached(engine, ask)
        prefill = (
            fresh + sum(each.missing for each in waiting) + sum(each.missing for each in running if each.missing > 1)
        )
        steps = _steps_before(engine) + ask.output_tokens
        return steps * step_ms + prefill * config.prefill_ms


def _steps_before(engine: Engine) -> int:
    """Steps until a slot is free for one more request, if the queue is served in order."""
    waiting = engine.scheduler.waiting
    room = engine.config.max_running - len(engine.scheduler.running)
    if len(waiting) < room:
        return 0
    ends = [0] * max(room, 0) + [each.left for each in engine.scheduler.running if isinstance(each, Answering)]
    heapq.heapify(ends)
    for each in waiting:
        if isinstance(each, Answering):
            heapq.heapreplace(ends, ends[0] + each.left)
    return ends[0]


def _cached(engine: Engine, ask: Ask) -> int:
    """Cached tokens of the prompt. Changes nothing in the engine."""
    return engine.kv.known_blocks(ask.prompt_blocks) * engine.kv.block_tokens
