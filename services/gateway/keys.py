"""Who is calling: the bearer keys that the operator configured, compared in constant time."""

import hmac
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from services.shared.errors import Unauthenticated

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Caller:
    tenant: str
    role: Literal["inference", "admin"]


class Keys:
    def __init__(self, api_key: str, admin_key: str) -> None:
        self._callers = (
            (_digest(api_key), Caller(DEFAULT_TENANT, "inference")),
            (_digest(admin_key), Caller(DEFAULT_TENANT, "admin")),
        )

    def authenticate(self, authorization: str | None) -> Caller:
        """`authorization` is the whole header. Raises Unauthenticated, which never repeats what was sent."""
        if not authorization:
            raise Unauthenticated("You didn't provide an API key. Send it as 'Authorization: Bearer <key>'.")
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthenticated("The authorization scheme must be 'Bearer'.")
        given = _digest(key.strip())
        for digest, caller in self._callers:
            if hmac.compare_digest(digest, given):
                return caller
        raise Unauthenticated("Incorrect API key provided.")


def _digest(key: str) -> bytes:
    """Equal lengths, so that comparing tells nothing about the length of a key."""
    return sha256(key.encode(errors="surrogateescape")).digest()
