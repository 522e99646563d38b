"""A response on its way to its client, which is kept for later as well."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

from services.gateway.database.engine import DatabaseAway
from services.gateway.generation.event_stream import GenerationHeader
from services.gateway.http.connection.generation_response import ResponseFormat
from services.gateway.openai.responses_events import ResponseDocument, ResponseStream, Shape
from services.gateway.stored_responses.store import StoredResponses, TooLargeToStore
from services.gateway.stored_responses.stored_response import Document, StoredResponse
from services.shared.clock import Clock
from services.shared.errors import ClientLeft, TidegateError
from tidegate.worker.v1 import worker_pb2

log = logging.getLogger(__name__)

KEEP_LIMIT_S = 5.0
"""How long the end of an answer may wait for the database."""


class KeptResponse:
    """Encodes one response, and stores it when it ends.

    The client gets its answer even if it cannot be stored; then `store` is false in what the client reads last.
    """

    def __init__(self, blank: StoredResponse, shape: Shape, clock: Clock, store: StoredResponses) -> None:
        """Makes a response without output.

        Args:
            blank: what is known of it before it begins.
            shape: how it looks.
            clock: times of it.
            store: keeps it.
        """
        self._blank, self._shape, self._clock, self._store = blank, shape, clock, store
        self._encoder: ResponseStream | ResponseDocument | None = None

    def format(self) -> ResponseFormat:
        """Returns how the response is shown and kept."""
        return ResponseFormat(self._stream, self._document, self)

    async def ended(self, used: worker_pb2.Usage) -> None:
        """Keeps the complete response."""
        if isinstance(self._encoder, ResponseStream):
            self._encoder.end(used)
        if self._encoder and (document := self._encoder.final):
            document["store"] = await self._keep(document)

    async def broke(self, error: TidegateError) -> None:
        """Keeps what there is of a stream that broke, or whose client left before its end."""
        if isinstance(self._encoder, ResponseStream) and self._encoder.final is None:
            status = "cancelled" if isinstance(error, ClientLeft) else "failed"
            document = self._encoder.broken(status, error)
            document["store"] = await self._keep(document)

    def _stream(self, header: GenerationHeader, _choices: int, _usage: bool) -> ResponseStream:
        self._encoder = encoder = ResponseStream(header, self._shape, self._clock)
        return encoder

    def _document(self, _choices: int) -> ResponseDocument:
        self._encoder = encoder = ResponseDocument(self._shape, self._blank.id, self._clock)
        return encoder

    async def _keep(self, document: Document) -> bool:
        return await kept(self._store.add, replace(self._blank, status=document["status"], document=document))


async def kept(put: Callable[[StoredResponse], Awaitable[object]], response: StoredResponse) -> bool:
    """Whether a response could be stored."""
    try:
        async with asyncio.timeout(KEEP_LIMIT_S):
            await put(response)
    except (DatabaseAway, TooLargeToStore, TimeoutError) as error:
        log.warning("the response %s is not stored: %s", response.id, str(error) or "it took too long")
        return False
    return True
