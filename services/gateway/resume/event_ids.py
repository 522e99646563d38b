"""Ids of a stream's events: places in it, signed, so that a client can hand back only what it was given.

An id is REQUEST.OFFSET.TAIL.SIGNATURE. The signature covers whose request it is, so that an id of another tenant, of
another Idempotency-Key or of another body is no id at all.
"""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hashlib import blake2b

from services.gateway.resume.stream_log import Point
from services.shared.errors import InvalidRequest

HEADER = "last-event-id"
SIGNATURE_BYTES = 16


class EventIds:
    def __init__(self, key: bytes, request: bytes) -> None:
        """key: the server's, for this purpose. request: what names the request, the same whenever it is sent."""
        self._key = hmac.digest(key, request, "sha256")

    def of(self, point: Point) -> bytes:
        place = b"%b.%d.%b" % (point.request_id.encode(), point.offset, _encoded(point.tail))
        return b"%b.%b" % (place, _encoded(self._signature(place)))

    def read(self, event_id: str) -> Point:
        """Raises InvalidRequest for anything that `of` did not make for this request."""
        place, _, signature = event_id.encode().rpartition(b".")
        try:
            genuine = hmac.compare_digest(_decoded(signature), self._signature(place))
        except ValueError:
            genuine = False
        if not genuine:
            raise InvalidRequest(
                "This is no event id of this request: send it with the same key, Idempotency-Key and body as before.",
                param=HEADER,
                code="invalid_event_id",
            )
        request_id, offset, tail = place.split(b".")
        return Point(request_id.decode(), int(offset), _decoded(tail))

    def _signature(self, place: bytes) -> bytes:
        """BLAKE2 with a key (RFC 7693): half the cost of HMAC, and every event has one."""
        return blake2b(place, key=self._key, digest_size=SIGNATURE_BYTES).digest()


def _encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


def _decoded(data: bytes) -> bytes:
    """Raises ValueError."""
    return urlsafe_b64decode(data + b"=" * (-len(data) % 4))
