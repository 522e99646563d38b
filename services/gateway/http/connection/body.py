"""The bytes of a request, bounded in size and time, as one JSON object."""

import asyncio
from dataclasses import dataclass
from typing import Any

from starlette.requests import ClientDisconnect, Request

from services.gateway.http.connection.content_encoding import IDENTITY, decode, encoding_of
from services.gateway.http.connection.protocol import CONNECTION, Connection
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.openai import strict_json
from services.shared.errors import ClientLeft, RequestTimeout, TooLarge, UnsupportedMedia


@dataclass(frozen=True, slots=True)
class BodyReader:
    """Reads JSON bodies.

    Attributes:
        max_bytes: size of the largest body that is accepted, compressed or not.
        timeout_s: seconds within which a body must have arrived.
    """

    max_bytes: int
    timeout_s: float

    async def read(self, request: Request) -> dict[str, Any]:
        """Returns the body as a JSON object.

        Raises:
            UnsupportedMedia: the content type is not JSON, or the content encoding is not known.
            TooLarge: the body has more than `max_bytes`.
            InvalidRequest: the body is not in its content encoding.
            RequestTimeout: the body did not arrive in time.
            NotJson: the body is not one JSON object.
            ClientLeft: the client closed the connection before its body was complete.
        """
        context = RequestContext.of(request.scope)
        _check_media(context)
        encoding = encoding_of(context.header("content-encoding"))
        _check_declared_size(context, self.max_bytes)
        connection: Connection = request.scope["state"][CONNECTION]
        body = connection.take_body()
        if body is None:
            body = await _arriving(request, self.max_bytes, self.timeout_s)
        elif len(body) > self.max_bytes:
            raise _too_large(self.max_bytes)
        if encoding != IDENTITY:
            # In a thread: a few bytes may become megabytes, and streams must not wait for that.
            body = await asyncio.to_thread(decode, body, encoding, self.max_bytes)
        return strict_json.parse_object(body)


def _check_media(context: RequestContext) -> None:
    media = (context.header("content-type") or "").partition(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMedia("The content type must be 'application/json'.")


def _check_declared_size(context: RequestContext, max_bytes: int) -> None:
    declared = context.header("content-length") or "0"
    if declared.isdigit() and int(declared) > max_bytes:
        raise _too_large(max_bytes)


async def _arriving(request: Request, max_bytes: int, timeout_s: float) -> bytes:
    try:
        async with asyncio.timeout(timeout_s):
            return await _read(request, max_bytes)
    except TimeoutError:
        raise RequestTimeout(f"The request body did not arrive within {timeout_s:g} s.") from None
    except ClientDisconnect:
        raise ClientLeft("The client left before its request was whole.") from None


async def _read(request: Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"The request body is larger than {max_bytes} bytes.")
