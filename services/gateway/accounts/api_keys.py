"""API keys as clients hold them: made at random, recognised by their own tag, stored only as keyed hashes.

A key is `tg-`, 40 random letters and digits, and a tag of 8 that only this server can make: strings that were never its
keys are refused without asking the database.
"""

import hmac
from dataclasses import dataclass
from hashlib import blake2b
from random import Random
from string import ascii_letters, digits

from services.gateway.domain.secrets import ServerSecret

PREFIX = "tg-"
RANDOM_CHARACTERS, TAG_CHARACTERS = 40, 8
SHOWN_CHARACTERS = 10
MAX_DIGESTS = 10_000
ALPHABET = ascii_letters + digits


@dataclass(frozen=True, slots=True)
class NewKey:
    """`key` is shown once and never stored."""

    id: str
    key: str
    prefix: str
    digest: str


class ApiKeys:
    def __init__(self, secret: ServerSecret, random: Random) -> None:
        """random: SystemRandom, but for tests."""
        self._hashing, self._tagging = secret.key("api-key-hash"), secret.key("api-key-tag")
        self._random = random
        # What was digested lately, under names that say nothing outside of this process. No key is kept.
        self._digests: dict[bytes, str] = {}
        self._naming = random.randbytes(32)

    def mint(self) -> NewKey:
        body = PREFIX + "".join(self._random.choices(ALPHABET, k=RANDOM_CHARACTERS))
        key = body + self._tag(body)
        return NewKey(f"key_{self._random.getrandbits(64):016x}", key, key[:SHOWN_CHARACTERS], self.digest(key))

    def is_ours(self, key: str) -> bool:
        body, tag = key[:-TAG_CHARACTERS], key[-TAG_CHARACTERS:]
        return key.startswith(PREFIX) and hmac.compare_digest(self._tag(body).encode(), _bytes(tag))

    def digest(self, key: str) -> str:
        """64 hex digits. Remembered: OpenSSL takes several times as long for it as this does for the name."""
        name = blake2b(_bytes(key), key=self._naming).digest()
        found = self._digests.get(name)
        if found is None:
            if len(self._digests) >= MAX_DIGESTS:
                self._digests.clear()
            found = self._digests[name] = hmac.digest(self._hashing, _bytes(key), "sha256").hex()
        return found

    def _tag(self, body: str) -> str:
        number = int.from_bytes(hmac.digest(self._tagging, _bytes(body), "sha256"))
        return "".join(ALPHABET[number // len(ALPHABET) ** place % len(ALPHABET)] for place in range(TAG_CHARACTERS))


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogatepass")
