"""Continuous batching: which sequences compute how many tokens in the next step.

Running sequences go first, oldest first, then waiting ones by rank as far as step tokens, places and KV allow, as in
vLLM's priority scheduling. When the KV cache is full the youngest running sequence of the worst rank gives its blocks
back and computes them again later; the oldest of the best can always go on, so the engine never locks up as long as the
cache holds one whole context.
"""

from collections import deque
from dataclasses import dataclass, field

from services.worker.engine.simulated.kv import Block, BlockHash, KvCache, block_hash


@dataclass(slots=True, eq=False)
class Sequence:
    """tokens: prompt, then output; of `computed` the KV is there. salt: separates tenants' blocks. rank: 0 is first."""

    tokens: list[int]
    prompt_length: int
    salt: bytes = b""
    rank: int = 0
    blocks: list[Block] = field(default_factory=list)
    hashes: list[BlockHash] = field(default_factory=list)
    computed: int = 0
    cached_tokens: int | None = None

    @property
    def length(self) -> int:
        return len(self.tokens)

    @property
    def missing(self) -> int:
        return self.length - self.computed

    def full_hashes(self, tokens: int, block_tokens: int) -> list[BlockHash]:
        """Hashes of the full blocks among the first `tokens`."""
        wanted = tokens // block_tokens
        while len(self.hashes) < wanted:
            parent = self.hashes[-1] if self.hashes else self.salt
            at = len(self.hashes) * block_tokens
            self.hashes.append(block_hash(parent, self.tokens[at : at + block_tokens]))
        return self.hashes[:wanted]


@dataclass(frozen=True, slots=True)
class Share:
    """Part of one sequence in a step. prefill: tokens whose KV the prompt or a recomputation needs."""

    sequence: Sequence
    tokens: int
    prefill: int


class Scheduler:
    def __init__(self, kv: KvCache, max_running: int, step_tokens: int) -> None:
        self._kv, self._max_running, self._step_tokens = kv, max_running, step_tokens
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Behind those of its rank that wait."""
        before = sum(waiting.rank <= sequence.rank for waiting in self.waiting)
        self.waiting.insert(before, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Takes the sequence out wherever it is and frees its KV. Does nothing when it is not here."""
        if sequence in self.running:
            self.running.remove(sequence)
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self._kv.release(sequence.blocks)

    def plan(self) -> list[Share]:
        """The next step. Reserves KV for it, preempting where there is none; empty only without work."""
        shares: list[Share] = []
        budget = self._step_tokens
        places = len(self.running)
        for sequence in list(self.running):
            if budget and sequence in self.running and (tokens := self._reserve(sequence, budget)):
                shares.append(_share(sequence, tokens))
                budget -= tokens
        preempted = len(self.running) < places
        while budget and not preempted and (admitted := self._admit(budget)):
            tokens = min(admitted.missing, budget)
            shares.append(_share(admitted, tokens))
            budget -= tokens
        return shares

    def commit(self, shares: list[Share]) -> list[Sequence]:
        """Counts the step as computed; returns the sequences that gain a token by it."""
        present = [share for share in shares if share.sequence in self.running]
        for share in present:
            self._store(share.sequence, share.tokens)
        return [share.sequence for share in present if not share.sequence.missing]

    def _reserve(self, sequence: Sequence, budget: int) -> int:
        """Tokens that a running sequence may compute; 0 when it had to be preempted itself."""
        tokens = min(sequence.missing, budget)
        while not self._kv.grow(sequence.blocks, sequence.computed + tokens):
            victim = max(reversed(self.running), key=lambda running: running.rank)
            self._give_way(victim)
            if victim is sequence:
                return 0
        return tokens

    def _give_way(self, victim: Sequence) -> None:
        """It goes on before all of its rank that wait."""
        self.running.remove(victim)
        self._kv.release(victim.blocks)
        victim.computed = 0
        self.waiting.insert(sum(waiting.rank < victim.rank for waiting in self.waiting), victim)

    def _admit(self, budget: int) -> Sequence | None:
        if not self.waiting or len(self.running) >= self._max_running:
            return None
        sequence = self.waiting[0]
        # The last token is always computed: its result is the next token.
        known = sequence.full_hashes(sequence.length - 1, self._kv.block_tokens)
        sequence.blocks = self._kv.attach(known)
        sequence.computed = len(sequence.blocks) * self._kv.block_tokens
        if not self._kv.grow(sequence.blocks, sequence.computed + min(sequence.missing, budget)):
            self._kv.release(sequence.blocks)
            sequence.computed = 0
            return None
        if sequence.cached_tokens is None:
            sequence.cached_tokens = min(sequence.computed, sequence.prompt_length)
        self.running.append(self.waiting.popleft())
        return sequence

    def _store(self, sequence: Sequence, tokens: int) -> None:
        first = sequence.computed // self._kv.block_tokens
        sequence.computed += tokens
        hashes = sequence.full_hashes(sequence.computed, self._kv.block_tokens)
        for index in range(first, len(hashes)):
            self._kv.seal(sequence.blocks[index], hashes[index])


def _share(sequence: Sequence, tokens: int) -> Share:
    decodes = sequence.missing == 1 and sequence.computed >= sequence.prompt_length
    return Share(sequence, tokens, 0 if decodes else tokens)
