"""uvicorn's HTTP protocol with bounds on headers, and its refusals in OpenAI's shape."""

from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

MAX_HEADER_BYTES = 16 * 1024
MAX_HEADERS = 100
ABORT = "tidegate.abort"


class HttpProtocol(HttpToolsProtocol):
    """Applications find `ABORT` in the scope's state: it drops the connection and what is unsent."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reading_headers = False
        self._header_bytes = 0
        self._refused = False

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        super().data_received(data)
        if self._reading_headers:
            # Counted by arrival: one endless header never becomes a header.
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self._refuse(431, "The request's headers are too large.")

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._reading_headers, self._header_bytes = True, 0
        self.scope["state"][ABORT] = self.transport.abort

    def on_headers_complete(self) -> None:
        self._reading_headers = False
        if len(self.headers) > MAX_HEADERS or sum(len(n) + len(v) for n, v in self.headers) > MAX_HEADER_BYTES:
            self._refuse(431, "The request's headers are too large.")
            raise ValueError("headers too large")
        if sum(name == b"host" for name, _ in self.headers) > 1:
            raise ValueError("more than one Host header")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, msg)

    def _refuse(self, status: int, message: str) -> None:
        """Answers once, below any application, and closes."""
        if self._refused:
            return
        self._refused = True
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": "invalid_http"}
        body = orjson.dumps({"error": error})
        head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[status] + head + body)
        self.transport.close()
