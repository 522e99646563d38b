"""How responses lie in the database: as JSON, or encrypted where the operator gave a key."""

from os import urandom
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PLAIN, _SEALED = b"\x00", b"\x01"
_NONCE_BYTES = 12


class Unreadable(Exception):
    """What was stored cannot be read with the key that this gateway has."""


class Cipher:
    """Writes and reads what the database keeps.

    Args:
        key: the operator's secret; None: nothing is encrypted. What was written without a key can always be read.
    """

    def __init__(self, key: str | None) -> None:
        self._cipher = AESGCM(_derived(key)) if key else None

    def write(self, value: Any, place: str) -> bytes:
        """Returns a value as it is stored.

        Args:
            value: of JSON.
            place: where it is stored. It cannot be read as if it were from another place.
        """
        plain = orjson.dumps(value)
        if self._cipher is None:
            return _PLAIN + plain
        nonce = urandom(_NONCE_BYTES)
        return _SEALED + nonce + self._cipher.encrypt(nonce, plain, place.encode())

    def read(self, stored: bytes, place: str) -> Any:
        """Returns the value.

        Raises:
            Unreadable: it was encrypted with another key, or changed.
        """
        if stored[:1] == _PLAIN:
            return orjson.loads(stored[1:])
        if self._cipher is None:
            raise Unreadable("it is encrypted, and this gateway has no key")
        nonce, sealed = stored[1 : 1 + _NONCE_BYTES], stored[1 + _NONCE_BYTES :]
        try:
            return orjson.loads(self._cipher.decrypt(nonce, sealed, place.encode()))
        except (InvalidTag, ValueError):
            raise Unreadable("it was encrypted with another key") from None


def _derived(key: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=None, info=b"tidegate/stored-responses").derive(key.encode())
