"""The bytes of tokens, with tokenizers of both kinds: byte-level BPE, and SentencePiece with bytes."""

from typing import Any

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE

from services.worker.engine.vllm.token_bytes import TokenBytes

EMOJI = "\U0001f30a\U0001f389"


class Wrapped:
    """The two methods of transformers' tokenizers that are used."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.decoded = 0

    def decode(self, token_ids: list[int]) -> Any:
        self.decoded += 1
        return self.tokenizer.decode(token_ids, skip_special_tokens=False)

    def convert_ids_to_tokens(self, token_ids: list[int]) -> list[str | None]:
        return [self.tokenizer.id_to_token(token) for token in token_ids]


def byte_level() -> Tokenizer:
    pieces = [*sorted(pre_tokenizers.ByteLevel.alphabet()), "\u00f0\u0141", "\u0120\u00f0\u0141"]
    merges = [("\u00f0", "\u0141"), ("\u0120", "\u00f0\u0141")]
    tokenizer = Tokenizer(BPE({piece: index for index, piece in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken("<\uff5cend\u2581of\u2581it\uff5c>")])
    return tokenizer


def sentence_piece() -> Tokenizer:
    pieces = [*(f"<0x{byte:02X}>" for byte in range(256)), "\u2581", "a", "\u2581a"]
    tokenizer = Tokenizer(
        BPE({piece: index for index, piece in enumerate(pieces)}, [("\u2581", "a")], byte_fallback=True)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="never", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


@pytest.mark.parametrize("make", [byte_level, sentence_piece])
@pytest.mark.parametrize("text", [EMOJI, f" {EMOJI} a a", "a\u00e9\u65e5\u672c\u8a9e", "\ufffd\ufffda"])
def test_the_bytes_of_all_tokens_joined_are_the_text(make: Any, text: str) -> None:
    tokenizer = make()
    token_bytes = TokenBytes(Wrapped(tokenizer))
    parts = [token_bytes.of(token) for token in tokenizer.encode(text).ids]
    assert b"".join(parts).decode() == text
    assert all(parts)


def test_each_token_of_two_emoji_side_by_side_has_its_own_bytes() -> None:
    tokenizer = byte_level()
    parts = [TokenBytes(Wrapped(tokenizer)).of(token) for token in tokenizer.encode(f" {EMOJI}").ids]
    assert parts == [b" \xf0\x9f", b"\x8c", b"\x8a", b"\xf0\x9f", b"\x8e", b"\x89"]


def test_a_special_token_keeps_its_name() -> None:
    tokenizer = byte_level()
    special = tokenizer.token_to_id("<\uff5cend\u2581of\u2581it\uff5c>")
    assert special is not None
    assert TokenBytes(Wrapped(tokenizer)).of(special).decode() == "<\uff5cend\u2581of\u2581it\uff5c>"


def test_a_token_is_looked_up_once() -> None:
    tokenizer = Wrapped(byte_level())
    token_bytes = TokenBytes(tokenizer)
    assert token_bytes.of(65) == token_bytes.of(65)
    assert tokenizer.decoded == 1
