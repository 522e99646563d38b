"""The client's end of one HTTP connection, which may stall or leave."""

from contextlib import AbstractContextManager, nullcontext

from starlette.types import Scope, Send

from services.gateway.generation.token_stream import TokenStream
from services.gateway.http.connection.protocol import CONNECTION, Connection
from services.gateway.http.connection.request_context import RequestContext
from services.gateway.http.connection.write_timeout import WriteTimeout
from services.shared.errors import ClientLeft, TidegateError

Headers = list[tuple[bytes, bytes]]


class Client:
    def __init__(self, scope: Scope, send: Send, stall_timeout_s: float) -> None:
        self._scope, self._send = scope, send
        self._patience = WriteTimeout(stall_timeout_s, self._abort)
        # None where an answer is recorded, and read by its clients later.
        self._connection: Connection | None = scope["state"].get(CONNECTION)
        self.started = False

    @property
    def exchange(self) -> RequestContext:
        return RequestContext.of(self._scope)

    async def start(self, headers: Headers) -> None:
        """The status is 200 from here on, whatever happens. A second call does nothing."""
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})

    @property
    def keeps_up(self) -> bool:
        """What is written now need not wait. Only for a stream that has started."""
        return self._connection is not None and self._connection.keeps_up

    def write(self, body: bytes) -> None:
        """As `send`, without waiting and past the framework, while the client keeps up."""
        if body and self._connection:
            self._connection.write(body)

    async def send(self, body: bytes, *, more: bool = True) -> None:
        """Raises ClientLeft when nothing was read for the stall time-out."""
        if not self.keeps_up:
            self._patience.begin()
        try:
            await self._send({"type": "http.response.body", "body": body, "more_body": more})
        finally:
            self._patience.end(last=not more)
        if self._patience.lost:
            raise ClientLeft("The client stopped reading.")

    async def fail(self, error: TidegateError, last_words: bytes) -> None:
        """Ends an answer that had begun; the status that is counted says so."""
        self.exchange.status = error.wire.http
        if not isinstance(error, ClientLeft):
            await self.send(last_words, more=False)

    def watched(self, answer: TokenStream) -> AbstractContextManager[None]:
        """Interrupts the answer if the client leaves meanwhile. A recorded one has no client that could."""
        if self._connection is None:
            return nullcontext()
        return self._connection.watched(lambda: answer.interrupt(ClientLeft("The client left.")))

    def _abort(self) -> None:
        """Closes without waiting for what is unsent, which nobody would read; whoever sends then goes on."""
        if self._connection:
            self._connection.abort()
