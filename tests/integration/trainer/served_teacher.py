"""A teacher behind the chat part of OpenAI's API, on a real port."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from trainer.teacher import Endpoint

Told = tuple[int, dict[str, str], dict[str, Any]]
"""Status, headers and body of a response."""
KEY = "sk-teacher"


def answered(content: str | None, finish_reason: str = "stop", **message: Any) -> Told:
    """A response with an answer."""
    made = {"role": "assistant", "content": content, "refusal": None, **message}
    return 200, {}, {"object": "chat.completion", "choices": [{"message": made, "finish_reason": finish_reason}]}


def failed(status: int, code: str | None = None, **headers: str) -> Told:
    """A response with an error in OpenAI's form."""
    return status, headers, {"error": {"message": f"no: {status}", "type": "x", "code": code}}


@dataclass
class ServedTeacher:
    """Attributes:
    respond: What becomes of a request; None: the connection is cut.
    asked: The requests' bodies, in the order in which they came.
    keys: Their Idempotency-Key, in the same order.
    canary: Their x-tidegate-canary.
    most: The most requests that were there at the same time.
    """

    respond: Callable[[dict[str, Any]], Told | None]
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    canary: list[str | None] = field(default_factory=list)
    most: int = 0
    now: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def endpoint(self, at_once: int = 4) -> Endpoint:
        return Endpoint(self.url, KEY, at_once, limit_s=30)


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        """A run that a test stops leaves in the middle of an answer."""


@contextmanager
def served_teacher(respond: Callable[[dict[str, Any]], Told | None]) -> Iterator[ServedTeacher]:
    """On a free port of loopback."""
    teacher = ServedTeacher(respond)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            assert self.path == "/v1/chat/completions"
            assert self.headers["authorization"] == f"Bearer {KEY}"
            with teacher.lock:
                teacher.asked.append(body)
                teacher.keys.append(self.headers["idempotency-key"])
                teacher.canary.append(self.headers["x-tidegate-canary"])
                teacher.now += 1
                teacher.most = max(teacher.most, teacher.now)
            told = teacher.respond(body)
            with teacher.lock:
                teacher.now -= 1
            if told is None:
                self.close_connection = True
                return
            status, headers, document = told
            content = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(content))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = _Server(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    teacher.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield teacher
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
