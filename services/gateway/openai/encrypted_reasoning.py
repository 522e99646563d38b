"""Reasoning that clients keep for us and send back unread, encrypted. Nothing of it is stored here.

Clients of OpenAI's API send back `encrypted_content` where they drop the text. It is sealed for one tenant.
"""

import base64
import binascii
from os import urandom

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.gateway.domain.secrets import ServerSecret

_PREFIX = "tide1."
_NONCE_BYTES = 12


class ReasoningSeal:
    """Seals and opens reasoning, the same on every gateway."""

    def __init__(self, secret: ServerSecret) -> None:
        self._cipher = AESGCM(secret.key("encrypted-reasoning"))

    def seal(self, text: str, tenant: str) -> str:
        """Returns the text in a form that only gateways can open, for this tenant."""
        nonce = urandom(_NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, text.encode("utf-8", "replace"), tenant.encode())
        return _PREFIX + base64.urlsafe_b64encode(nonce + sealed).decode()

    def open(self, content: str, tenant: str) -> str | None:
        """Returns the text; None if it was not sealed here, or for another tenant."""
        if not content.startswith(_PREFIX):
            return None
        try:
            raw = base64.urlsafe_b64decode(content.removeprefix(_PREFIX))
            return self._cipher.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], tenant.encode()).decode()
        except (InvalidTag, ValueError, binascii.Error):
            return None
