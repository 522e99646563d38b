"""A finite KV cache in blocks; sequences with the same prefix share blocks.

A block is used by one or more sequences, or it is free. A free block keeps its content and can be found by its hash
until the block is needed. The block that was freed first is reused first. A block knows the weights that computed it.
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
    """Counts who uses each block, and finds full blocks by their hash."""

    def __init__(self, tokens: int, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.total_blocks = tokens // block_tokens
        self._free: OrderedDict[Block, None] = OrderedDict.fromkeys(range(self.total_blocks))
        self._holders: defaultdict[Block, int] = defaultdict(int)
        self._block_of: dict[BlockHash, Block] = {}
        self._hash_of: dict[Block, BlockHash] = {}
        self._weights_of: dict[Block, str] = {}
        self.weights = ""
        """SHA-256 of the weights that compute KV now."""

    @property
    def used_tokens(self) -> int:
        """Tokens in the blocks that sequences use, rounded up to whole blocks."""
        return (self.total_blocks - len(self._free)) * self.block_tokens

    @property
    def capacity_tokens(self) -> int:
        """Tokens that all blocks together can store."""
        return self.total_blocks * self.block_tokens

    def attach(self, hashes: Iterable[BlockHash]) -> list[Block]:
        """Takes the blocks of the longest cached prefix into use and returns them."""
        blocks: list[Block] = []
        for name in hashes:
            if (block := self._block_of.get(name)) is None:
                break
            self._hold(block)
            blocks.append(block)
        return blocks

    def foreign(self, blocks: Iterable[Block]) -> str:
        """Returns the weights, other than those of now, that computed one of these cached blocks; or ""."""
        made = (self._weights_of.get(block, self.weights) for block in blocks)
        return next((weights for weights in made if weights != self.weights), "")

    def known_blocks(self, hashes: Iterable[BlockHash]) -> int:
        """Returns the length of the longest cached prefix, in blocks; takes nothing into use."""
        return sum(1 for _ in takewhile(self._block_of.__contains__, hashes))

    def grow(self, blocks: list[Block], tokens: int) -> bool:
        """Extends `blocks` until `tokens` fit; takes nothing and returns False when too few blocks are free."""
        missing = -(-tokens // self.block_tokens) - len(blocks)
        if missing > len(self._free):
            return False
        blocks.extend(self._take() for _ in range(missing))
        return True

    def seal(self, block: Block, name: BlockHash) -> None:
        """Lets other sequences find a full block. A second block with the same content stays private."""
        if name not in self._block_of and block not in self._hash_of:
            self._block_of[name] = block
            self._hash_of[block] = name
            self._weights_of[block] = self.weights

    def release(self, blocks: list[Block]) -> None:
        """Frees the blocks and empties the list. The last block is freed first, so prefixes stay cached longest."""
        while blocks:
            block = blocks.pop()
            self._holders[block] -= 1
            if self._holders[block] < 0:
                raise RuntimeError(f"block {block} was released twice")
            if not self._holders[block]:
                self._free[block] = None

    def forget(self) -> None:
        """Forgets all cached content; running sequences keep their blocks."""
        self._block_of.clear()
        self._hash_of.clear()
        self._weights_of.clear()

    def _take(self) -> Block:
        block, _ = self._free.popitem(last=False)
        if name := self._hash_of.pop(block, None):
            del self._block_of[name]
        self._weights_of.pop(block, None)
        self._holders[block] += 1
        return block

    def _hold(self, block: Block) -> None:
        self._free.pop(block, None)
        self._holders[block] += 1
