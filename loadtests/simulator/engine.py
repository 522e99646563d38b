"""One simulated engine on simulated time: the worker's own simulated scheduler and KV cache, stepped in stretches.

Steps between two changes (a request comes, begins, ends) are alike but for the tokens that they add, so they are taken
in one stretch. Whatever comes in the middle of a stretch cuts it at the end of the step that runs, where the engine
itself would see it first.
"""

import math
from dataclasses import dataclass
from typing import cast

from services.shared.engine_settings import SimulatedEngine
from services.worker.engine.simulated.kv import BlockHash, KvCache
from services.worker.engine.simulated.scheduler import Scheduler, Sequence, Share


@dataclass(slots=True, eq=False)
class Answering(Sequence):
    """A sequence whose tokens are only counted. `chain`: hashes of its full blocks. `left`: tokens still to come."""

    chain: tuple[BlockHash, ...] = ()
    size: int = 0
    left: int = 0

    @property
    def length(self) -> int:
        """Tokens so far."""
        return self.size

    def full_hashes(self, tokens: int, block_tokens: int) -> list[BlockHash]:
        """The hashes of the full blocks among the first tokens."""
        return list(self.chain[: tokens // block_tokens])

    def produce(self, tokens: int) -> None:
        """Adds tokens of the answer."""
        self.size += tokens
        self.left -= tokens


def answering(chain: tuple[BlockHash, ...], prompt: int, output: int, produced: int = 0, rank: int = 0) -> Answering:
    """Makes a sequence. `produced`: tokens of `output` that another engine made already."""
    size, left = prompt + produced, output - produced
    return Answering(tokens=[], prompt_length=prompt, rank=rank, chain=chain, size=size, left=left)


@dataclass(slots=True)
class _Stretch:
    """Steps of equal cost, each of which adds a token to every sequence; or a single step of any kind."""

    began_ms: float
    step_ms: float
    steps: int
    shares: list[Share]

    @property
    def ends_ms(self) -> float:
        return self.began_ms + self.steps * self.step_ms

    def cut(self, now_ms: float) -> None:
        """Ends the stretch with the step that runs now."""
        self.steps = min(self.steps, max(1, math.ceil((now_ms - self.began_ms) / self.step_ms)))


@dataclass(frozen=True, slots=True)
class Gained:
    """A sequence that got its first token just now, or its last one, or both."""

    sequence: Answering
    first: bool
    last: bool


class Engine:
    """A simulated engine that takes equal steps together."""

    def __init__(self, config: SimulatedEngine) -> None:
        self.config = config
        self.kv = KvCache(config.kv_tokens, config.block_tokens)
        self.scheduler = Scheduler(self.kv, config.max_running, config.step_tokens)
        self._stretch: _Stretch | None = None
        self._leaving: list[Answering] = []
        self.due_ms = math.inf
        """When to call `advance` next (ms)."""

    @property
    def sequences(self) -> int:
        """Sequences that run or wait."""
        return len(self.scheduler.running) + len(self.scheduler.waiting)

    def add(self, sequence: Answering, now_ms: float) -> None:
        """Adds a sequence to the queue."""
        self.scheduler.add(sequence)
        if self._stretch is None:
            self.due_ms = now_ms
        elif len(self.scheduler.running) < self.config.max_running:
            self._cut(now_ms)

    def remove(self, sequence: Answering, now_ms: float) -> None:
        """Removes a sequence when the step that runs now has ended."""
        self._leaving.append(sequence)
        if self._stretch:
            self._cut(now_ms)

    def advance(self) -> list[Gained]:
        """Ends the stretch, begins the next one, and returns the sequences that gained something."""
        now_ms = self.due_ms
        gained = self._finish(self._stretch) if self._stretch else []
        for sequence in self._leaving:
            self.scheduler.remove(sequence)
        self._leaving.clear()
        self._stretch = self._plan(now_ms) if self.scheduler.has_work else None
        self.due_ms = self._stretch.ends_ms if self._stretch else math.inf
        return gained

    def _cut(self, now_ms: float) -> None:
        if self._stretch:
            self._stretch.cut(now_ms)
            self.due_ms = self._stretch.ends_ms

    def _plan(self, now_ms: float) -> _Stretch:
        waiting = len(self.scheduler.waiting)
        shares = self.scheduler.plan()
        preempted = len(self.scheduler.waiting) > waiting
        prefill = sum(share.prefill for share in shares)
        alike = not prefill and not preempted and len(shares) == len(self.scheduler.running)
        return _Stretch(now_ms, self._step_ms(prefill), self._alike(shares) if alike else 1, shares)

    def _step_ms(self, prefill: int) -> float:
        config = self.config
        return config.step_ms + config.sequence_ms * len(self.scheduler.running) + config.prefill_ms * prefill

    def _alike(self, shares: list[Share]) -> int:
        """Steps until the first sequence ends, but only as many as the KV cache certainly has space for."""
        steps = min(cast(Answering, share.sequence).left for share in shares)
        free_blocks = (self.kv.capacity_tokens - self.kv.used_tokens) // self.kv.block_tokens
        return max(1, min(steps, (free_blocks // len(shares) - 1) * self.kv.block_tokens))

    def _finish(self, stretch: _Stretch) -> list[Gained]:
        gained = []
        for sequence in cast("list[Answering]", self.scheduler.commit(stretch.shares)):
            first = sequence.size == sequence.prompt_length
            sequence.produce(1)
            if stretch.steps > 1:
                self._repeat(sequence, stretch.steps - 1)
            if first or sequence.left <= 0:
                gained.append(Gained(sequence, first, sequence.left <= 0))
        for each in gained:
            if each.last:
                self.scheduler.remove(each.sequence)
        return gained

    def _repeat(self, sequence: Answering, steps: int) -> None:
        """Does what so many plans and commits would do."""
        sequence.produce(steps)
        before = sequence.computed // self.kv.block_tokens
        sequence.computed += steps
        if not self.kv.grow(sequence.blocks, sequence.computed):
            raise RuntimeError("a stretch was longer than the KV cache allows")
        for index in range(before, min(sequence.computed // self.kv.block_tokens, len(sequence.chain))):
            self.kv.seal(sequence.blocks[index], sequence.chain[index])
