"""HTTP requests as clients really send them: changed bodies, odd uploads, compression, headers, versions, paths."""

import gzip
import json
import zlib
from collections.abc import Callable
from random import Random

from backports import zstd

from tests.robustness.inputs.client_bodies import bodies, changed
from tests.robustness.inputs.http_cases import HttpCase

Header = tuple[str, str]
JSON: Header = ("content-type", "application/json")
BOUNDARY = "tide"
SHARE_OF_UPLOADS = 0.12
SHARE_OF_PATHS = 0.08
SHARE_OF_ENCODED = 0.2
SHARE_OF_HEADERS = 0.3
SHARE_OF_HTTP_1_0 = 0.05

ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda body: gzip.compress(body, mtime=0),
    "deflate": zlib.compress,
    "zstd": zstd.compress,
    "identity": lambda body: body,
    "br": lambda body: body,
    "gzip, zstd": lambda body: zstd.compress(gzip.compress(body, mtime=0)),
    "x-none": lambda body: body,
}
HEADERS: tuple[Header, ...] = (
    *(("accept", value) for value in ("text/event-stream", "*/*", "image/png", "")),
    *(("content-type", value) for value in ("application/json; charset=utf-16", "text/plain", "APPLICATION/JSON", "")),
    *(("x-tidegate-strict", value) for value in ("true", "yes", "", "1")),
    *(("idempotency-key", value) for value in ("", "x" * 300, "a b")),
    *(("x-request-id", value) for value in ("", "not hex", "f" * 500)),
    *(("last-event-id", value) for value in ("", "1", "x.y", "9" * 60)),
    *(("x-service-tier", "gold"), ("x-tidegate-timeout", "soon"), ("timeout", "-1"), ("openai-beta", "assistants=v2")),
    *(("anthropic-version", value) for value in ("2023-06-01", "soon")),
    *(("expect", "100-continue"), ("upgrade", "h2c"), ("origin", "https://example.org"), ("te", "trailers")),
    *(("range", "bytes=0-1"), ("if-none-match", "*"), ("cookie", "a=b; c"), ("x-forwarded-for", "::1, nobody")),
    *(("traceparent", value) for value in ("00-0-0-0", "x")),
)
PATHS: tuple[tuple[str, str], ...] = (
    *(("POST", path) for path in ("/v1/v1/chat/completions", "/v1/v1/messages", "/chat/completions", "/v1/messages/")),
    *(
        ("POST", path)
        for path in ("/v1/chat/completions/", "//v1/chat/completions", "/v1/responses//", "/V1/responses")
    ),
    *(("HEAD", path) for path in ("/v1/models", "/health", "/v1/chat/completions", "/v1/files", "/openapi.json")),
    *(
        ("GET", path)
        for path in ("/v1/models/", "/v1/models/%00", "/v1/models/é", "/v1/models/a/b", "/v1/files/..%2f..")
    ),
    *(
        ("GET", path)
        for path in ("/v1/files?limit=-1", "/v1/files?after=%00", "/v1/batches?limit=x", "/v1/files?order=up")
    ),
    *(
        ("GET", path)
        for path in ("/v1/responses/resp_x", "/v1/responses/", "/v1/batches/x", "/v1/files/x/content", "/v2")
    ),
    *(
        (method, path)
        for method in ("GET", "DELETE")
        for path in ("/v1/conversations/conv_x", "/v1/conversations/%00/items/x")
    ),
    *(("GET", path) for path in ("/v1/conversations/conv_x/items?after=%00", "/v1/conversations/x/items?limit=x")),
    *(("DELETE", path) for path in ("/v1/files/x", "/v1/models/tide", "/v1/responses/resp_x", "/v1/batches/x")),
    *(("POST", path) for path in ("/v1/batches/x/cancel", "/v1/responses/resp_x/cancel", "/v1/responses/compact")),
    *(("OPTIONS", "/v1/chat/completions"), ("PATCH", "/v1/messages"), ("PUT", "/v1/files"), ("TRACE", "/v1/models")),
)
LINE = b'{"custom_id": "a", "method": "POST", "url": "/v1/chat/completions", "body": {}}\n'
FILES: tuple[bytes, ...] = (
    *(b"", b"\n", b"\xef\xbb\xbf" + LINE, LINE.decode().encode("utf-16"), "é".encode("latin-1"), b"\x00" * 100),
    *(
        LINE,
        LINE.replace(b"\n", b"\r\n"),
        LINE.replace(b"\n", b"\r"),
        b"\x80" * 10,
        b"--tide--\r\n",
        gzip.compress(LINE),
    ),
)
NAMES = (
    'filename="in.jsonl"',
    'filename=""',
    "",
    "filename*=UTF-8''%C3%A9.jsonl",
    'filename="../../x"',
    'filename="é"',
)
FIELDS: tuple[tuple[str, str], ...] = (
    *(("purpose", value) for value in ("batch", "user_data", "fine-tune", "", "nonsense", "\x00", "b" * 5000)),
    *(("expires_after[anchor]", value) for value in ("created_at", "now")),
    *(("expires_after[seconds]", value) for value in ("3600", "1", "-1", "x", "1e4", "9" * 40)),
    ("unknown", "x"),
)


def client_cases(model: str, count: int, seed: int) -> list[HttpCase]:
    """model: one that the cluster serves."""
    random = Random(seed)
    posted = bodies(model)
    return [_case(posted, random) for _ in range(count)]


def _case(posted: dict[str, tuple[dict[str, object], ...]], random: Random) -> HttpCase:
    kind = random.random()
    if kind < SHARE_OF_UPLOADS:
        return _upload(random)
    target = random.choice(list(posted))
    body = _json(changed(random.choice(posted[target]), random))
    method = "POST"
    if kind < SHARE_OF_UPLOADS + SHARE_OF_PATHS:
        method, target = random.choice(PATHS)
        body = body if method in ("POST", "PUT", "PATCH") else b""
    headers = [JSON] if body else []
    if body and random.random() < SHARE_OF_ENCODED:
        name = random.choice(list(ENCODERS))
        body, headers = _maybe_cut(ENCODERS[name](body), random), [*headers, ("content-encoding", name)]
    if random.random() < SHARE_OF_HEADERS:
        added = dict(random.choices(HEADERS, k=random.randint(1, 3)))
        headers = [(name, value) for name, value in headers if name not in added] + list(added.items())
    version = "1.0" if random.random() < SHARE_OF_HTTP_1_0 else "1.1"
    return HttpCase(method, target, tuple(headers), body, version=version)


def _json(body: dict[str, object]) -> bytes:
    """JSON with what only some encoders write: halves of characters, and numbers beyond 64 bits."""
    return json.dumps(body).encode()


def _maybe_cut(body: bytes, random: Random) -> bytes:
    return body[: random.randint(0, len(body))] if random.random() < 0.2 else body


def _upload(random: Random) -> HttpCase:
    """A multipart form of a file and fields, some of them twice or not at all."""
    parts = [_field(name, value) for name, value in random.choices(FIELDS, k=random.randint(0, 3))]
    if random.random() < 0.7:
        parts.append(_field("purpose", "batch"))
    for _ in range(random.choice((0, 1, 1, 1, 1, 2))):
        name = random.choice(NAMES)
        parts.append(f'content-disposition: form-data; name="file"; {name}\r\n\r\n'.encode() + random.choice(FILES))
    random.shuffle(parts)
    body = b"".join(b"--tide\r\n" + part + b"\r\n" for part in parts) + b"--tide--\r\n"
    media = random.choice(
        ("multipart/form-data; boundary=tide",) * 8 + ("multipart/form-data", "multipart/form-data; boundary=x")
    )
    return HttpCase("POST", "/v1/files", (("content-type", media),), _maybe_cut(body, random))


def _field(name: str, value: str) -> bytes:
    return f'content-disposition: form-data; name="{name}"\r\n\r\n{value}'.encode()
