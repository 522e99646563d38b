"""Placement by one who knows every cache as it is and every answer's length: where the request would end first.

It knows what no router knows, and has neither classes nor a queue: a mark to measure hit rate and throughput by.
"""

import heapq
from collections.abc import Sequence as Series
from dataclasses import dataclass

from loadtests.simulator.ask import Ask
from loadtests.simulator.engine import Answering, Engine


@dataclass(frozen=True)
class Oracle:
    fleet: Series[Engine]

    def place(self, ask: Ask, open_requests: list[int]) -> int:
        return min(range(len(self.fleet)), key=lambda worker: self._ends_ms(self.fleet[worker], ask))

    def _ends_ms(self, engine: Engine, ask: Ask) -> float:
        """From now. Decoding goes by full steps, and every prefill in the engine delays all that runs there."""
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
    """Steps until a place is free for one more, all that wait being served in order."""
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
    """Tokens. Looks and leaves everything as it is."""
    return engine.kv.known_blocks(ask.prompt_blocks) * engine.kv.block_tokens
