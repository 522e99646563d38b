"""Continuous batching: decides how many tokens each sequence computes in the next step.

Running sequences go first, the oldest before the others. Then waiting sequences follow by rank, as far as step tokens,
places and KV allow, as in vLLM's priority scheduling. When the KV cache is full, the youngest running sequence of the
worst rank is preempted: it frees its blocks and computes them again later. The oldest sequence of the best rank can
always go on, so the engine never locks up if one whole context fits into the cache.
"""

from collections import deque
from dataclasses import dataclass, field

from services.worker.engine.simulated.kv import Block, BlockHash, KvCache, block_hash


@dataclass(slots=True, eq=False)
class Sequence:
    """One choice of a request in the scheduler.

    Attributes:
        tokens: Prompt, then output.
        prompt_length: Tokens of the prompt.
        salt: Separates the cached blocks of versions and tenants.
        rank: 0 goes first.
        blocks: Its blocks in the KV cache.
        hashes: Hashes of its full blocks.
        computed: Number of tokens whose KV is in the cache.
        cached_tokens: Prompt tokens that were cached at its first start; None before.
        foreign: Other weights than the engine's that computed KV which it has found. No sequence should ever have any.
    """

    tokens: list[int]
    prompt_length: int
    salt: bytes = b""
    rank: int = 0
    blocks: list[Block] = field(default_factory=list)
    hashes: list[BlockHash] = field(default_factory=list)
    computed: int = 0
    cached_tokens: int | None = None
    foreign: str = ""

    @property
    def length(self) -> int:
        """Tokens of prompt and output."""
        return len(self.tokens)

    @property
    def missing(self) -> int:
        """Tokens whose KV must still be computed."""
        return self.length - self.computed

    def full_hashes(self, tokens: int, block_tokens: int) -> list[BlockHash]:
        """Returns the hashes of the full blocks among the first `tokens` tokens."""
        count = tokens // block_tokens
        while len(self.hashes) < count:
            parent = self.hashes[-1] if self.hashes else self.salt
            at = len(self.hashes) * block_tokens
            self.hashes.append(block_hash(parent, self.tokens[at : at + block_tokens]))
        return self.hashes[:count]


@dataclass(frozen=True, slots=True)
class Share:
    """The tokens that one sequence computes in a step; `prefill` of them belong to the prompt or a recomputation."""

    sequence: Sequence
    tokens: int
    prefill: int


class Scheduler:
    """Decides which sequences run and how many tokens each of them computes in a step."""

    def __init__(self, kv: KvCache, max_running: int, step_tokens: int) -> None:
        self._kv, self._max_running, self._step_tokens = kv, max_running, step_tokens
        self.waiting: deque[Sequence] = deque()
        # In the order of their start; a dict because every token asks whether its sequence still runs.
        self.running: dict[Sequence, None] = {}

    @property
    def has_work(self) -> bool:
        """Whether a sequence runs or waits."""
        return bool(self.waiting or self.running)

    def add(self, sequence: Sequence) -> None:
        """Adds a sequence behind the waiting ones of its rank."""
        before = sum(waiting.rank <= sequence.rank for waiting in self.waiting)
        self.waiting.insert(before, sequence)

    def remove(self, sequence: Sequence) -> None:
        """Removes a running or waiting sequence and frees its KV; ignores an unknown one."""
        if sequence in self.running:
            del self.running[sequence]
        elif sequence in self.waiting:
            self.waiting.remove(sequence)
        self._kv.release(sequence.blocks)

    def plan(self) -> list[Share]:
        """Plans the next step and reserves KV for it; preempts sequences if needed. Empty only without work."""
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
        """Counts the step as computed; returns the sequences that get a new token."""
        present = [share for share in shares if share.sequence in self.running]
        for share in present:
            self._store(share.sequence, share.tokens)
        return [share.sequence for share in present if not share.sequence.missing]

    def compute_ahead(self, sequence: Sequence) -> bool:
        """Counts the newest token of a sequence as computed in this step, where it was drafted and is right.

        Returns:
            False: there is no room for its KV, or the sequence does not run.
        """
        if sequence not in self.running or sequence.missing != 1:
            return False
        if not self._kv.grow(sequence.blocks, sequence.computed + 1):
            return False
        self._store(sequence, 1)
        return True

    def _reserve(self, sequence: Sequence, budget: int) -> int:
        """Returns the tokens that a running sequence may compute; 0 when it was preempted itself."""
        tokens = min(sequence.missing, budget)
        while not self._kv.grow(sequence.blocks, sequence.computed + tokens):
            victim = max(reversed(self.running), key=lambda running: running.rank)
            self._preempt(victim)
            if victim is sequence:
                return 0
        return tokens

    def _preempt(self, victim: Sequence) -> None:
        """Preempts a sequence; it goes on before the waiting ones of its rank."""
        del self.running[victim]
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
        sequence.foreign = self._kv.foreign(sequence.blocks)
        sequence.computed = len(sequence.blocks) * self._kv.block_tokens
        if not self._kv.grow(sequence.blocks, sequence.computed + min(sequence.missing, budget)):
            self._kv.release(sequence.blocks)
            sequence.computed = 0
            return None
        if sequence.cached_tokens is None:
            sequence.cached_tokens = min(sequence.computed, sequence.prompt_length)
        self.running[self.waiting.popleft()] = None
        return sequence

    def _store(self, sequence: Sequence, tokens: int) -> None:
        first = sequence.computed // self._kv.block_tokens
        sequence.computed += tokens
        if sequence.computed // self._kv.block_tokens == first:
            return
        hashes = sequence.full_hashes(sequence.computed, self._kv.block_tokens)
        for index in range(first, len(hashes)):
            self._kv.seal(sequence.blocks[index], hashes[index])


def _share(sequence: Sequence, tokens: int) -> Share:
    decodes = sequence.missing == 1 and sequence.computed >= sequence.prompt_length
    return Share(sequence, tokens, 0 if decodes else tokens)
