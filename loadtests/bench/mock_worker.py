"""A mock of an OpenAI server: it repeats one word at a fixed pace and needs as little CPU as Python allows.

Usage: `python -m loadtests.bench.mock_worker PORT SECONDS_PER_TOKEN`
"""

import asyncio
import sys

import orjson
import uvloop

from loadtests.bench.http import Connection, serve

MODEL = "bench"
WORD = " token"
_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


class Worker(Connection):
    """One connection. `pace_s`: seconds between two tokens."""

    def __init__(self, pace_s: float) -> None:
        super().__init__()
        self._pace_s = pace_s

    def requested(self, path: bytes, body: bytes) -> None:
        """Answers a request."""
        if not path.endswith(b"/chat/completions"):
            self.answer(200, orjson.dumps(_about(path)))
            return
        request = orjson.loads(body)
        tokens = int(request["max_tokens"])
        if request.get("stream"):
            self.write(_STREAM)
            self._later(self._token, tokens)
        else:
            self._later(self._whole, tokens)

    def _later(self, callback: object, tokens: int) -> None:
        asyncio.get_running_loop().call_later(self._pace_s, callback, tokens)  # type: ignore[arg-type]

    def _token(self, left: int) -> None:
        self.write(_chunk(_event(WORD, "length" if left == 1 else None)))
        if left == 1:
            self.write(_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        else:
            self._later(self._token, left - 1)

    def _whole(self, tokens: int) -> None:
        message = {"role": "assistant", "content": WORD * tokens}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}
        usage = {"prompt_tokens": 32, "completion_tokens": tokens, "total_tokens": 32 + tokens}
        self.answer(200, orjson.dumps({**_head("chat.completion"), "choices": [choice], "usage": usage}))


def _head(kind: str) -> dict[str, object]:
    return {"id": "chatcmpl-0123456789abcdef", "object": kind, "created": 1_700_000_000, "model": MODEL}


def _event(text: str, finish_reason: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish_reason}
    return b"data: " + orjson.dumps({**_head("chat.completion.chunk"), "choices": [choice]}) + b"\n\n"


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def _about(path: bytes) -> dict[str, object]:
    """The answers that routers expect from a worker before they use it."""
    if path.endswith(b"/models"):
        return {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1, "owned_by": "bench"}]}
    return {"status": "ok", "model_path": MODEL, "served_model_name": MODEL, "version": "0.32.0"}


if __name__ == "__main__":
    pace_s = float(sys.argv[2])
    uvloop.run(serve(int(sys.argv[1]), lambda: Worker(pace_s)))
