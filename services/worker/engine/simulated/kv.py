"""A finite KV cache in blocks, where sequences with the same beginning share blocks.

A block is held by sequences (counted), or free. A free block keeps what it holds, and can be found by its hash, until
the block is needed: least recently freed goes first.
"""

import hashlib
import struct
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile

Block = int
BlockHash = bytes


def block_hash(parent: BlockHash, tokens: Sequence[int]) -> BlockHash:
    """Names a full block by its tokens and everything before them."""
    return hashlib.blake2b(parent + struct.pack(f"<{len(tokens)}I", *tokens), digest_size=16).digest()


class KvCache:
    def __init__(self, tokens: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.total_blocks = tokens // block_tokens
        self._free: OrderedDict[Block, None] = OrderedDict.fromkeys(range(self.total_blocks))
        self._holders: defaultdict[Block, int] = defaultdict(int)
        self._block_of: dict[BlockHash, Block] = {}
        self._hash_of: dict[Block, BlockHash] = {}

    @property
    def used_tokens(self) -> int:
        return (self.total_blocks - len(self._free)) * self.block_tokens

    @property
    def capacity_tokens(self) -> int:
        return self.total_blocks * self.block_tokens

    def attach(self, hashes: Iterable[BlockHash]) -> list[Block]:
        """Holds the blocks of the longest known beginning and returns them."""
        blocks: list[Block] = []
        for name in hashes:
            if (block := self._block_of.get(name)) is None:
                break
            self._hold(block)
            blocks.append(block)
        return blocks

    def known_blocks(self, hashes: Iterable[BlockHash]) -> int:
        """Length of the longest known beginning. Holds nothing."""
        return sum(1 for _ in takewhile(self._block_of.__contains__, hashes))

    def grow(self, blocks: list[Block], tokens: int) -> bool:
        """Extends `blocks` until they hold `tokens`; takes nothing and returns False when too few are free."""
        missing = -(-tokens // self.block_tokens) - len(blocks)
        if missing > len(self._free):
            return False
        blocks.extend(self._take() for _ in range(missing))
        return True

    def seal(self, block: Block, name: BlockHash) -> None:
        """Makes a block that is now full findable. A second block with the same content stays private."""
        if name not in self._block_of and block not in self._hash_of:
            self._block_of[name] = block
            self._hash_of[block] = name

    def release(self, blocks: list[Block]) -> None:
        """Gives the blocks back and empties the list. Last ones first, so that beginnings stay findable longest."""
        while blocks:
            block = blocks.pop()
            self._holders[block] -= 1
            if self._holders[block] < 0:
                raise RuntimeError(f"block {block} was released twice")
            if not self._holders[block]:
                self._free[block] = None

    def forget(self) -> None:
        """Nothing that the blocks hold can be found any more. Sequences keep theirs."""
        self._block_of.clear()
        self._hash_of.clear()

    def _take(self) -> Block:
        block, _ = self._free.popitem(last=False)
        if name := self._hash_of.pop(block, None):
            del self._block_of[name]
        self._holders[block] += 1
        return block

    def _hold(self, block: Block) -> None:
        self._free.pop(block, None)
        self._holders[block] += 1
