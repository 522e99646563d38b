"""A request with an Idempotency-Key: its key, a digest of its body, and the event after which it continues."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import Request

from services.gateway.http.connection.request_context import RequestContext
from services.gateway.openai.request_builder import identified
from services.gateway.resume import event_ids
from services.shared.errors import InvalidRequest

HEADER = "idempotency-key"
MAX_KEY_CHARACTERS = 255

Key = tuple[str, str]
"""Tenant, and the key that its client chose."""


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """A request that has a key.

    Attributes:
        key: tenant and key.
        digest: SHA-256 of path and body; the same however the body's fields are ordered.
        after: id of the last event that the client has; empty when it has none.
    """

    key: Key
    digest: bytes
    after: str

    @classmethod
    def of(cls, request: Request, body: dict[str, Any]) -> "IdempotentRequest | None":
        """Reads the headers of a request.

        Returns:
            None without an Idempotency-Key.

        Raises:
            InvalidRequest: the key is not valid, or Last-Event-ID came without a key.
        """
        name, after = _header(request, HEADER), _header(request, event_ids.HEADER) or ""
        if name is None:
            if after:
                raise InvalidRequest("Only a request with an Idempotency-Key can be resumed.", param=event_ids.HEADER)
            return None
        if not 0 < len(name) <= MAX_KEY_CHARACTERS or not name.isprintable():
            raise InvalidRequest(
                f"One Idempotency-Key of 1 to {MAX_KEY_CHARACTERS} characters is needed.", param=HEADER
            )
        canonical = orjson.dumps([request.url.path, body], option=orjson.OPT_SORT_KEYS)
        caller = identified(RequestContext.of(request.scope))
        return cls((caller.tenant, name), hashlib.sha256(canonical).digest(), after)

    @property
    def identity(self) -> bytes:
        """What identifies the request on every gateway, each time the client sends it."""
        return orjson.dumps([*self.key, self.digest.hex()])


def _header(request: Request, name: str) -> str | None:
    """Raises InvalidRequest."""
    value = RequestContext.of(request.scope).header(name)
    if value is not None and len(request.headers.getlist(name)) > 1:
        raise InvalidRequest(f"There must be one {name} only.", param=name)
    return value
