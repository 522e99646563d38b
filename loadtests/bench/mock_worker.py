"""An OpenAI worker that says the same word again and again, at its pace, for as little CPU as Python allows.

`python -m loadtests.bench.mock_worker PORT SECONDS_A_TOKEN`
"""

import asyncio
import sys

import httptools
import orjson
import uvloop

MODEL = "bench"
WORD = " token"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Worker(asyncio.Protocol):
    """One connection."""

    def __init__(self, pace_s: float) -> None:
        self._pace_s = pace_s
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._path, self._body = b"", b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self._path, self._body = url, b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if not self._path.endswith(b"/chat/completions"):
            self._write(_document(_about(self._path)))
            return
        asked = orjson.loads(self._body)
        tokens = int(asked["max_tokens"])
        if asked.get("stream"):
            self._write(_STREAM)
            self._later(self._token, tokens)
        else:
            self._later(self._whole, tokens)

    def _later(self, say: object, tokens: int) -> None:
        asyncio.get_running_loop().call_later(self._pace_s, say, tokens)  # type: ignore[arg-type]

    def _token(self, left: int) -> None:
        self._write(_chunk(_event(WORD, "length" if left == 1 else None)))
        if left == 1:
            self._write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        else:
            self._later(self._token, left - 1)

    def _whole(self, tokens: int) -> None:
        message = {"role": "assistant", "content": WORD * tokens}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        usage = {"prompt_tokens": 32, "completion_tokens": tokens, "total_tokens": 32 + tokens}
        self._write(_document({**_head("chat.completion"), "choices": [choice], "usage": usage}))

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)


def _head(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-0123456789abcdef", "object": kind, "created": 1_700_000_000, "model": MODEL}


def _event(text: str, finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({**_head("chat.completion.chunk"), "choices": [choice]}) + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _document(document: object) -> bytes:
    body = orjson.dumps(document)
    return b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def _about(path: bytes) -> dict[str, object]:
    """What routers ask of a worker before they use it."""
    if path.endswith(b"/models"):
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "bench"}]}
    return {"status": "ok", "model_path": MODEL, "served_model_name": MODEL, "version": "0.32.0"}


async def serve(port: int, pace_s: float) -> None:
    listening = await asyncio.get_running_loop().create_server(lambda: Worker(pace_s), "127.0.0.1", port)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), float(sys.argv[2])))
