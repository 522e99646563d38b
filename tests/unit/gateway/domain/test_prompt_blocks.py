from services.gateway.domain.prompt_blocks import BLOCK_BYTES, MAX_BLOCKS, block_hashes


def test_block_hashes_chain() -> None:
    blocks = [bytes([n]) * BLOCK_BYTES for n in range(3)]
    whole = block_hashes(b"".join(blocks), scope="m")
    assert block_hashes(b"".join(blocks[:2]) + b"tail", scope="m") == whole[:2]
    other = block_hashes(b"x" * BLOCK_BYTES + blocks[1], scope="m")
    assert other[1] != whole[1]
    assert block_hashes(blocks[0], scope="n") != whole[:1]
    assert block_hashes(b"short", scope="m") == []
    assert len(block_hashes(b"x" * BLOCK_BYTES * (MAX_BLOCKS + 9), scope="m")) == MAX_BLOCKS
    assert all(0 <= value < 2**64 for value in whole)
