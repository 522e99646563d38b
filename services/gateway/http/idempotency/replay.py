"""A recorded answer on its way to one client."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.http.connection.client import Client
from services.gateway.http.idempotency.recording import RecordedResponse, ReplayPosition


class ReplayedResponse(Response):
    """A recording on its way to one client, from a place in it on."""

    def __init__(self, recording: RecordedResponse, place: ReplayPosition, stall_timeout_s: float) -> None:
        self._recording, self._place, self._stall_timeout_s = recording, place, stall_timeout_s
        self.background = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises the error of an answer that never began."""
        recording, client = self._recording, Client(scope, send, self._stall_timeout_s)
        client.exchange.model = recording.exchange.model
        index = 0
        while message := await recording.message(index):
            if message["type"] == "http.response.start":
                client.exchange.version, client.exchange.limits = recording.exchange.version, recording.exchange.limits
                await client.start(list(message["headers"]))
            elif index >= self._place.message:
                skipped = self._place.byte if index == self._place.message else 0
                await client.send(message["body"][skipped:], more=message.get("more_body", False))
            index += 1
        client.exchange.status = recording.exchange.status
