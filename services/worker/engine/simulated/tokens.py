"""A tokenizer of invented words, and the answer to any prompt, both without a model.

Ids 0..255 are bytes, 256 ends a sequence, and the others are words of two syllables with a space in front. Other text
is encoded in bytes, so every text is the same after encode and decode.
"""

import hashlib
import itertools
import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from services.worker.engine.contract import Sampling, TokenLogprob, TopLogprob
from services.worker.engine.simulated.script import Part

_SYLLABLES = tuple(a + b for a, b in itertools.product("bdfgklmnprstvwzh", "aeio"))
_WORDS = tuple(f" {a}{b}" for a, b in itertools.product(_SYLLABLES, repeat=2))
_WORD_ID = {word: 257 + index for index, word in enumerate(_WORDS)}
_PIECE = re.compile(r" [a-z]+|.", re.DOTALL)

END = 256
VOCABULARY = 257 + len(_WORDS)
_SHORTEST, _LONGEST = 16, 256
# Draws of one word, at most: a request may forbid every word that it allows.
_MAX_DRAWS = 16


def encode(text: str) -> list[int]:
    """Returns the token ids of a text."""
    return [token for piece in _PIECE.findall(text) for token in _encode_piece(piece)]


def _encode_piece(piece: str) -> list[int]:
    word = _WORD_ID.get(piece)
    return [word] if word else list(piece.encode())


def token_bytes(token: int) -> bytes:
    """Returns the bytes of a token; the end token has none.

    Raises:
        IndexError: The id is outside the vocabulary.
    """
    if token < END:
        return bytes([token])
    return b"" if token == END else _WORDS[token - 257].encode()


def token_text(token: int) -> str:
    """Returns the text of one token; a byte that is not UTF-8 alone becomes a replacement character."""
    return _WORDS[token - 257] if token > END else token_bytes(token).decode(errors="replace")


def token_str(token: int) -> str:
    """Returns a token as the vocabulary writes it."""
    if token < END:
        return f"<0x{token:02X}>"
    return "<end>" if token == END else _WORDS[token - 257]


def decode(tokens: Iterable[int]) -> str:
    """Returns the text of token ids; bytes that are not UTF-8 become replacement characters."""
    return b"".join(map(token_bytes, tokens)).decode(errors="replace")


@dataclass(frozen=True)
class Oracle:
    """The answer of one choice: token i is a pure function of weights, prompt, sampling, choice and i.

    Limits (max_tokens, min_tokens, stop, n) have no influence, so other limits cut the same answer at another place.

    Attributes:
        script: the answer, if the prompt tells it.
    """

    weights_sha256: str
    prompt: tuple[int, ...]
    sampling: Sampling
    choice: int
    script: tuple[Part, ...] = ()

    @cached_property
    def _key(self) -> bytes:
        s = self.sampling
        shaping = (s.temperature, s.top_p, s.top_k, s.min_p, s.seed, s.presence_penalty, s.frequency_penalty)
        bias = sorted(s.logit_bias.items())
        shape: tuple[object, ...] = (self.weights_sha256, self.prompt, shaping, s.repetition_penalty, bias, self.choice)
        return hashlib.blake2b(repr(shape).encode(), digest_size=32).digest()

    def _draw(self, purpose: bytes, index: int) -> int:
        mark = hashlib.blake2b(purpose + struct.pack("<q", index), key=self._key, digest_size=8)
        return int.from_bytes(mark.digest(), "little")

    @cached_property
    def _natural_length(self) -> int:
        return _SHORTEST + self._draw(b"length", 0) % (_LONGEST - _SHORTEST)

    @cached_property
    def _told(self) -> list[int]:
        return encode("".join(part.text for part in self.script))

    def call_id(self, number: int) -> str:
        """Returns the id of the call that is the part of the script with this number."""
        return f"call_{self._draw(b'call', number):016x}"

    def token(self, index: int) -> int:
        """Returns the token id at position `index` of the answer."""
        if self.script:
            return self._told[index] if index < len(self._told) else END
        ends = index >= max(self._natural_length, self.sampling.min_tokens)
        if ends and not self.sampling.ignore_eos:
            return END
        if self._is_restricted:
            return self._allowed_word(index)
        return 257 + self._draw(b"token", index) % len(_WORDS)

    @cached_property
    def _is_restricted(self) -> bool:
        return bool(self.sampling.allowed_token_ids or self.sampling.bad_words)

    def _allowed_word(self, index: int) -> int:
        """Returns the word at a position; words that may not come are drawn again."""
        allowed, bad = self.sampling.allowed_token_ids, self.sampling.bad_words
        token = END
        for attempt in range(_MAX_DRAWS):
            draw = self._draw(b"token%d" % attempt if attempt else b"token", index)
            token = allowed[draw % len(allowed)] if allowed else 257 + draw % len(_WORDS)
            if not bad or token_text(token).strip() not in bad:
                break
        return token

    def prompt_logprob(self, index: int) -> TokenLogprob:
        """Returns the log probabilities at position `index` of the prompt; the token there is the second likeliest."""
        token = self.prompt[index]
        if not index:
            return TokenLogprob(token, token_bytes(token), 0.0)
        others = (257 + self._draw(b"prompt%d" % rank, index) % len(_WORDS) for rank in range(20))
        ranked = list(dict.fromkeys(other for other in others if other != token))
        ranked.insert(1, token)
        best = -(self._draw(b"prompt logprob", index) % 1000) / 1000
        top = tuple(TopLogprob(other, token_bytes(other), best - rank) for rank, other in enumerate(ranked))
        return TokenLogprob(token, token_bytes(token), best - 1, top[: self.sampling.prompt_logprobs], rank=2)

    def logprob(self, index: int) -> TokenLogprob:
        """Returns the log probabilities at position `index`; the chosen token is always the likeliest."""
        chosen = self.token(index)
        ranked = [chosen, *(257 + self._draw(b"top%d" % rank, index) % len(_WORDS) for rank in range(1, 21))]
        best = -(self._draw(b"logprob", index) % 1000) / 1000
        top = [TopLogprob(token, token_bytes(token), best - rank) for rank, token in enumerate(dict.fromkeys(ranked))]
        return TokenLogprob(chosen, token_bytes(chosen), best, tuple(top[: self.sampling.top_logprobs]))
