"""Errors of a response that has begun: its status is sent, so the end of its body tells them."""

import logging
from collections.abc import Awaitable, Callable

from services.gateway.http.connection.client import Client
from services.shared.errors import InternalError, TidegateError

log = logging.getLogger(__name__)


async def with_late_errors(
    response: Awaitable[None], client: Client, request_id: str, fail: Callable[[TidegateError, Client], Awaitable[None]]
) -> None:
    """Sends a response. An error before the first byte is raised, and becomes a status.

    Args:
        response: sends it.
        client: who gets it.
        request_id: for the log.
        fail: ends the body with an error that comes later.

    Raises:
        TidegateError: nothing was sent.
    """
    try:
        await response
    except TidegateError as error:
        if not client.started:
            raise
        await fail(error, client)
    except Exception:
        if not client.started:
            raise
        log.exception("a stream failed", extra={"request_id": request_id})
        await fail(InternalError(), client)
