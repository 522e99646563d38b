"""Blocks of the KV cache: counted, shared, evicted, never lost."""

from random import Random

import pytest

from services.worker.engine.simulated.kv import Block, KvCache, block_hash


def test_growing_takes_whole_blocks_or_nothing() -> None:
    kv = KvCache(tokens=64, block_tokens=16)
    blocks: list[Block] = []
    assert kv.grow(blocks, 17)
    assert (len(blocks), kv.used_tokens) == (2, 32)
    assert not kv.grow(blocks, 65)
    assert (len(blocks), kv.used_tokens) == (2, 32)


def test_a_freed_prefix_can_be_found_until_its_blocks_are_needed() -> None:
    kv = KvCache(tokens=64, block_tokens=16)
    name = block_hash(b"", [7] * 16)
    blocks: list[Block] = []
    kv.grow(blocks, 16)
    kv.seal(blocks[0], name)
    kv.release(blocks)
    assert kv.used_tokens == 0
    found = kv.attach([name])
    assert len(found) == 1
    kv.release(found)
    everything: list[Block] = []
    assert kv.grow(everything, 64)
    assert kv.attach([name]) == []


def test_a_shared_block_is_freed_by_the_last_user() -> None:
    kv = KvCache(tokens=64, block_tokens=16)
    first: list[Block] = []
    kv.grow(first, 16)
    kv.seal(first[0], b"name")
    second = kv.attach([b"name"])
    kv.release(first)
    assert kv.used_tokens == 16
    kv.release(second)
    assert kv.used_tokens == 0


def test_releasing_twice_is_noticed() -> None:
    kv = KvCache(tokens=16, block_tokens=16)
    blocks: list[Block] = []
    kv.grow(blocks, 1)
    again = list(blocks)
    kv.release(blocks)
    with pytest.raises(RuntimeError, match="twice"):
        kv.release(again)


@pytest.mark.parametrize("seed", range(20))
def test_no_block_leaks_in_any_order(seed: int) -> None:
    random = Random(seed)
    kv = KvCache(tokens=256, block_tokens=16)
    held: list[list[Block]] = []
    for _ in range(300):
        if held and random.random() < 0.5:
            kv.release(held.pop(random.randrange(len(held))))
        else:
            blocks = kv.attach([b"%d" % index for index in range(random.randrange(4))])
            if kv.grow(blocks, 16 * len(blocks) + random.randrange(1, 64)):
                for index, block in enumerate(blocks):
                    kv.seal(block, b"%d" % index)
            held.append(blocks)
        assert kv.used_tokens == 16 * len({block for blocks in held for block in blocks})
    for blocks in held:
        kv.release(blocks)
    assert kv.used_tokens == 0
