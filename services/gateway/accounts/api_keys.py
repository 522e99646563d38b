"""API keys as clients hold them: made at random, recognised by a tag of their own, stored only as keyed hashes.

A key is `tg-`, 40 random letters and digits, and a tag of 8 characters that only this server can make. So strings that
were never its keys are refused without asking the database.
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
    """A key that was just made.

    Args:
        id: its public name.
        key: the secret itself; shown once and never stored.
        prefix: its first characters, to recognise it by.
        digest: its keyed hash, which is stored.
    """

    id: str
    key: str
    prefix: str
    digest: str


class ApiKeys:
    """Makes and recognises API keys.

    Args:
        random: SystemRandom, except in tests.
    """

    def __init__(self, secret: ServerSecret, random: Random) -> None:
        self._hashing, self._tagging = secret.key("api-key-hash"), secret.key("api-key-tag")
        self._random = random
        # Recent digests, under hashes that only this process can make. No key is kept.
        self._digests: dict[bytes, str] = {}
        self._process_key = random.randbytes(32)

    def mint(self) -> NewKey:
        """Makes a new key."""
        body = PREFIX + "".join(self._random.choices(ALPHABET, k=RANDOM_CHARACTERS))
        key = body + self._tag(body)
        return NewKey(f"key_{self._random.getrandbits(64):016x}", key, key[:SHOWN_CHARACTERS], self.digest(key))

    def is_ours(self, key: str) -> bool:
        """The tag was made by this server: such a key was valid at some time."""
        body, tag = key[:-TAG_CHARACTERS], key[-TAG_CHARACTERS:]
        return key.startswith(PREFIX) and hmac.compare_digest(self._tag(body).encode(), _bytes(tag))

    def digest(self, key: str) -> str:
        """The key's hash, 64 hex digits. It is remembered, since OpenSSL takes several times as long as BLAKE2 here."""
        name = blake2b(_bytes(key), key=self._process_key).digest()
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
