"""Compressed bodies: whole, bounded while they are decoded, and refused with what is wrong."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from backports import zstd

from services.gateway.http.connection.content_encoding import MAX_MEMBERS, ZSTD_WINDOW_LOG, decode, encoding_of
from services.shared.errors import InvalidRequest, TooLarge, UnsupportedMedia

BODY = b'{"model": "chat"}' * 100
LIMIT = 64 * 1024
Compress = Callable[[bytes], bytes]


def bare_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(body) + compressor.flush()


FORMS: list[tuple[str, Compress]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", bare_deflate),
    ("zstd", zstd.compress),
]


@pytest.mark.parametrize(("encoding", "compress"), FORMS)
@pytest.mark.parametrize("body", [BODY, b"", b"x" * LIMIT], ids=["short", "empty", "longest"])
def test_a_body_is_what_it_was(encoding: str, compress: Compress, body: bytes) -> None:
    assert decode(compress(body), encoding, LIMIT) == body


@pytest.mark.parametrize(("encoding", "compress"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_several_members_are_one_body(encoding: str, compress: Compress) -> None:
    assert decode(compress(BODY) + compress(BODY), encoding, LIMIT) == BODY * 2
    with pytest.raises(TooLarge):
        decode(compress(b"x" * LIMIT) + compress(b"x"), encoding, LIMIT)
    with pytest.raises(InvalidRequest, match="more than"):
        decode(compress(b"") * (MAX_MEMBERS + 1), encoding, LIMIT)


@pytest.mark.parametrize(("encoding", "compress"), FORMS)
def test_a_bomb_is_refused_while_it_is_decoded(encoding: str, compress: Compress) -> None:
    bomb = compress(b" " * (256 * LIMIT))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge, match=f"larger than {LIMIT} bytes when it is decompressed"):
            decode(bomb, encoding, LIMIT)
        assert tracemalloc.get_traced_memory()[1] < 16 * LIMIT
    finally:
        tracemalloc.stop()


def test_a_window_that_needs_much_memory_is_refused() -> None:
    compressor = zstd.ZstdCompressor(options={int(zstd.CompressionParameter.window_log): ZSTD_WINDOW_LOG + 1})
    wide = compressor.compress(b"x" * 2**20) + compressor.flush()
    with pytest.raises(InvalidRequest, match="not valid zstd"):
        decode(wide, "zstd", 2**21)


@pytest.mark.parametrize(("encoding", "compress"), FORMS)
def test_a_part_of_a_body_is_refused(encoding: str, compress: Compress) -> None:
    with pytest.raises(InvalidRequest) as refused:
        decode(compress(BODY)[:-3], encoding, LIMIT)
    assert refused.value.body()["error"]["code"] == "invalid_content_encoding"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd"])
@pytest.mark.parametrize(
    "body", [BODY, b"\xff\xff\xff", gzip.compress(BODY) + b"rest"], ids=["plain", "no header", "rest"]
)
def test_something_else_is_refused(encoding: str, body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        decode(body, encoding, LIMIT)


@pytest.mark.parametrize(
    ("header", "encoding"),
    [(None, "identity"), ("", "identity"), ("Identity", "identity"), (" GZIP ", "gzip"), ("zstd", "zstd")],
)
def test_known_encodings(header: str | None, encoding: str) -> None:
    assert encoding_of(header) == encoding


@pytest.mark.parametrize("header", ["br", "gzip, zstd", "compress", "x" * 1000])
def test_an_unknown_encoding_is_told_the_known_ones(header: str) -> None:
    with pytest.raises(UnsupportedMedia, match="gzip, deflate and zstd") as refused:
        encoding_of(header)
    assert len(refused.value.message) < 250
