"""Compressed request bodies: gzip, deflate and zstd, bounded in size while they are decoded."""

import zlib
from collections.abc import Callable
from typing import Protocol

from backports.zstd import DecompressionParameter, ZstdDecompressor, ZstdError

from services.shared.errors import InvalidRequest, TooLarge, UnsupportedMedia

IDENTITY = "identity"
# A window of 8 MiB, the largest that RFC 9659 allows for HTTP: what a decoder may need of memory.
ZSTD_WINDOW_LOG = 23
# Compressed data may be several members or frames, one after the other. Each costs a little, however empty it is.
MAX_MEMBERS = 64


class Decompressor(Protocol):
    """Decodes one member of gzip, one stream of zlib, or one frame of zstd."""

    @property
    def eof(self) -> bool:
        """Whether the member is whole."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What came after the member."""
        ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Returns at most `max_length` decoded bytes."""
        ...


def _gzip(_: bytes) -> Decompressor:
    return zlib.decompressobj(16 + zlib.MAX_WBITS)


def _deflate(body: bytes) -> Decompressor:
    """Decodes zlib's format, which HTTP calls deflate, or the bare deflate that some clients send for it."""
    has_header = len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0
    return zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)


def _zstd(_: bytes) -> Decompressor:
    return ZstdDecompressor(options={DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})


_DECOMPRESSORS: dict[str, Callable[[bytes], Decompressor]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "deflate": _deflate,
    "zstd": _zstd,
}


def encoding_of(header: str | None) -> str:
    """Returns the encoding that the header Content-Encoding names.

    Raises:
        UnsupportedMedia: it is not known, or there are several.
    """
    encoding = (header or IDENTITY).strip().lower()
    if encoding != IDENTITY and encoding not in _DECOMPRESSORS:
        raise UnsupportedMedia(
            f"The content encoding '{encoding[:64]}' is not supported. Send the body as it is, or use one of gzip,"
            " deflate and zstd."
        )
    return encoding


def decode(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decodes a body. It stops as soon as there would be more than `max_bytes`.

    Args:
        body: all of it.
        encoding: as `encoding_of` returned it; not `identity`.
        max_bytes: size of the largest decoded body.

    Raises:
        TooLarge: the decoded body has more than `max_bytes`.
        InvalidRequest: the bytes are not in that encoding, or their end is missing.
    """
    decoded = bytearray()
    for _ in range(MAX_MEMBERS):
        decompressor = _DECOMPRESSORS[encoding](body)
        try:
            decoded += decompressor.decompress(body, max_bytes + 1 - len(decoded))
        except (zlib.error, ZstdError):
            raise _not_encoded(f"The request body is not valid {encoding}.") from None
        if len(decoded) > max_bytes:
            raise TooLarge(f"The request body is larger than {max_bytes} bytes when it is decompressed.")
        if not decompressor.eof:
            raise _not_encoded(f"The end of the request body's {encoding} data is missing.")
        body = decompressor.unused_data
        if not body:
            return bytes(decoded)
    raise _not_encoded(f"The request body has more than {MAX_MEMBERS} parts of {encoding} data.")


def _not_encoded(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="invalid_content_encoding")
