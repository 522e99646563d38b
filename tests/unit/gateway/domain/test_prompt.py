from services.gateway.domain.prompt import (
    BLOCK_BYTES,
    DEFAULT_ANSWER_TOKENS,
    MAX_BLOCKS,
    Cost,
    block_hashes,
    estimate,
)


def test_the_cost_is_estimated_within_the_context() -> None:
    assert estimate(9, None, 2, 8192) == Cost(3, 2 * DEFAULT_ANSWER_TOKENS)
    assert estimate(0, 7, 1, 8192) == Cost(1, 7)
    assert estimate(10**9, 10**9, 1, 100) == Cost(100, 100)


def test_each_block_hash_covers_all_text_before_it() -> None:
    blocks = [bytes([n]) * BLOCK_BYTES for n in range(3)]
    whole = block_hashes(b"".join(blocks), scope="m")
    assert block_hashes(b"".join(blocks[:2]) + b"tail", scope="m") == whole[:2]
    other = block_hashes(b"x" * BLOCK_BYTES + blocks[1], scope="m")
    assert other[1] != whole[1]
    assert block_hashes(blocks[0], scope="n") != whole[:1]
    assert block_hashes(b"short", scope="m") == []
    assert len(block_hashes(b"x" * BLOCK_BYTES * (MAX_BLOCKS + 9), scope="m")) == MAX_BLOCKS
    assert all(0 <= value < 2**64 for value in whole)
