"""Cache-aware placement as SGLang's router and its descendants do it, with their documented defaults.

A tree of the prompts sent so far stands for each worker's cache. A prompt goes where most of it is known, if that is
more than `cache_threshold` of it, and else to the least loaded; while loads are far apart, to the least loaded always.
https://github.com/lightseekorg/smg/blob/main/docs/concepts/routing/cache-aware.md
"""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass, field

from loadtests.simulator.ask import BLOCK_TOKENS, Ask

CHARACTERS_PER_TOKEN = 4


@dataclass
class Radix:
    """The tree of prompts. A chained hash names a whole prefix, so a map from hashes to workers is a tree."""

    cache_threshold: float = 0.3
    balance_abs_threshold: int = 64
    balance_rel_threshold: float = 1.5
    max_tree_blocks: int = 2**26 // (BLOCK_TOKENS * CHARACTERS_PER_TOKEN)
    _known: defaultdict[bytes, dict[int, None]] = field(default_factory=lambda: defaultdict(dict))
    _trees: defaultdict[int, OrderedDict[bytes, None]] = field(default_factory=lambda: defaultdict(OrderedDict))

    def place(self, ask: Ask, open_requests: list[int]) -> int:
        """Chooses a worker."""
        worker = self._choose(ask, open_requests)
        self._insert(worker, ask.prompt_blocks)
        return worker

    def _choose(self, ask: Ask, open_requests: list[int]) -> int:
        least, most = min(open_requests), max(open_requests)
        if most - least > self.balance_abs_threshold and most > self.balance_rel_threshold * least:
            return open_requests.index(least)
        holders, blocks = self._holders(ask.prompt_blocks)
        if holders and blocks * BLOCK_TOKENS > self.cache_threshold * ask.prompt_tokens:
            return min(holders, key=open_requests.__getitem__)
        return open_requests.index(least)

    def _holders(self, blocks: tuple[bytes, ...]) -> tuple[list[int], int]:
        """The workers that have the longest prefix, and its length in blocks."""
        for length in range(len(blocks), 0, -1):
            if holders := self._known.get(blocks[length - 1]):
                return list(holders), length
        return [], 0

    def _insert(self, worker: int, blocks: tuple[bytes, ...]) -> None:
        tree = self._trees[worker]
        for block in reversed(blocks):
            self._known[block][worker] = None
            tree[block] = None
            tree.move_to_end(block)
        while len(tree) > self.max_tree_blocks:
            gone, _ = tree.popitem(last=False)
            del self._known[gone][worker]
            if not self._known[gone]:
                del self._known[gone]
