"""A server that speaks the part of the Hugging Face hub's API that its library uses to read a repository."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee0000000000000000000000000000000000"
_PIECE = 64 * 1024


@dataclass
class HubRepo:
    """A repository. `lfs`: names of the files whose digest the API tells; they are served from another path."""

    files: dict[str, bytes]
    lfs: set[str] = field(default_factory=set)
    is_gated: bool = False
    token: str | None = None
    """Only whoever sends it may read."""


@dataclass
class Hub:
    """What the server has, and what it was asked.

    Attributes:
        repositories: By name.
        moved: Old name -> new name.
        reads: Names of the files that were sent, in order.
        break_after: File -> bytes after which its next transfer breaks off, once.
        held: Files whose transfer stops half way until `gate` is set. `is_held` tells that one has.
    """

    url: str = ""
    repositories: dict[str, HubRepo] = field(default_factory=dict)
    moved: dict[str, str] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)
    break_after: dict[str, int] = field(default_factory=dict)
    gate: threading.Event = field(default_factory=threading.Event)
    held: set[str] = field(default_factory=set)
    is_held: threading.Event = field(default_factory=threading.Event)


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub on a free port of loopback."""
    hub = Hub()
    server = _Server(("127.0.0.1", 0), _Handler)
    server.hub = hub
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: Hub

    def handle_error(self, *_: object) -> None:
        """A client that was killed reads no more."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._info("/".join(parts[2:4]), parts[5] if parts[4:5] == ["revision"] else "main")
        elif parts[0] == "cdn":
            self._send("/".join(parts[1:3]), "/".join(parts[3:]))
        elif len(parts) < 5:
            self._refuse(404, "")
        else:
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))

    def _info(self, name: str, revision: str) -> None:
        if new := self.server.hub.moved.get(name):
            self._reply(307, b"", Location=self.path.replace(name, new))
        elif (repo := self._readable(name)) is None:
            self._refuse(401, "RepoNotFound")
        elif revision not in ("main", "v1", COMMIT):
            self._refuse(404, "RevisionNotFound")
        else:
            siblings = [_sibling(file, content, file in repo.lfs) for file, content in repo.files.items()]
            self._reply(200, json.dumps({"id": name, "sha": COMMIT, "siblings": siblings}).encode())

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._readable(name)
        if repo is None:
            self._refuse(401, "RepoNotFound")
        elif repo.is_gated:
            self._refuse(403, "GatedRepo")
        elif file not in repo.files or revision != COMMIT:
            self._refuse(404, "EntryNotFound")
        elif file in repo.lfs:
            self._reply(302, b"", Location=f"{self.server.hub.url}/cdn/{name}/{file}")
        else:
            self._send(name, file)

    def _readable(self, name: str) -> HubRepo | None:
        repo = self.server.hub.repositories.get(name)
        if repo and repo.token and self.headers.get("authorization") != f"Bearer {repo.token}":
            return None
        return repo

    def _send(self, name: str, file: str) -> None:
        content = self.server.hub.repositories[name].files[file]
        start = int((self.headers.get("range") or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.server.hub.reads.append(file)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        end = self.server.hub.break_after.pop(file, len(content))
        for at in range(start, end, _PIECE):
            if file in self.server.hub.held and at >= len(content) // 2:
                self.server.hub.is_held.set()
                self.server.hub.gate.wait(120)
            self.wfile.write(content[at : min(at + _PIECE, end)])
        self.close_connection = end < len(content)

    def _refuse(self, status: int, code: str) -> None:
        self._reply(status, b"{}", **{"X-Error-Code": code})

    def _reply(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


def _sibling(name: str, content: bytes, is_lfs: bool) -> dict[str, object]:
    plain = {"rfilename": name, "size": len(content), "blobId": hashlib.sha1(content).hexdigest()}  # noqa: S324
    if not is_lfs:
        return plain
    digest = hashlib.sha256(content).hexdigest()
    return {**plain, "lfs": {"size": len(content), "sha256": digest, "pointerSize": 134}}
