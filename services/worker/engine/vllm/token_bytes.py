"""The bytes of single tokens. A tokenizer's own decode shows parts of characters as replacement characters."""

import re
from typing import Any

_REPLACEMENT = "\ufffd"
# SentencePiece writes a space so, and a byte that is not a character of its vocabulary like "<0xF0>".
_SPACE = "\u2581"
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
MAX_REMEMBERED = 65_536


def _byte_level_alphabet() -> dict[str, int]:
    """Returns the character for each byte in vocabularies of byte-level BPE, as GPT-2 defined them.

    Bytes of printable Latin-1 characters stand for themselves, the others for the characters from 256 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


_BYTE_OF = _byte_level_alphabet()


class TokenBytes:
    """Knows the bytes of each token of one tokenizer, and remembers those that it was asked for."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, bytes] = {}

    def of(self, token: int) -> bytes:
        """Returns the UTF-8 bytes of a token, which may be a part of a character."""
        if (known := self._known.get(token)) is not None:
            return known
        found = self._find(token)
        if len(self._known) < MAX_REMEMBERED:
            self._known[token] = found
        return found

    def _find(self, token: int) -> bytes:
        text: str = self._tokenizer.decode([token])
        piece = self._tokenizer.convert_ids_to_tokens([token])[0]
        if not isinstance(piece, str):
            return text.encode()
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        if _REPLACEMENT in text and all(character in _BYTE_OF for character in piece):
            return bytes(_BYTE_OF[character] for character in piece)
        if piece.startswith(_SPACE) and _SPACE not in text:
            return piece.replace(_SPACE, " ").encode()
        return text.encode()
