"""HTTP as clients, browsers and proxies really speak it, over real sockets."""

import gzip
import zlib
from typing import Any

import httpx
import orjson
import pytest
from backports import zstd

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, text
from tests.support.raw_http import RawConnection, request
from tests.support.wait import wait_until

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
BODY = orjson.dumps(ASK)
JSON = {"content-type": "application/json"}
AUTHORIZED = f"authorization: Bearer {KEY}"
MAX_BODY_BYTES = 2 * 1024 * 1024


def chat(version: str, *headers: str, **changes: Any) -> bytes:
    body = orjson.dumps({**ASK, **changes})
    length = f"content-length: {len(body)}"
    return request(
        f"POST {CHAT} HTTP/{version}", AUTHORIZED, "content-type: application/json", length, *headers, body=body
    )


def raw(cluster: Cluster) -> RawConnection:
    return RawConnection(cluster.gateway.http_address)


# Keys


async def test_keys_by_other_names(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as client:
        for header in ("x-api-key", "api-key", "X-API-Key"):
            assert (await client.get("/v1/models", headers={header: KEY})).status_code == 200
            refused = await client.get("/v1/models", headers={header: "wrong"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_two_different_keys_are_refused(cluster: Cluster) -> None:
    answer = await cluster.http.get("/v1/models", headers={"x-api-key": "sk-ant-of-another-service"})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (401, "conflicting_api_keys")
    assert "authorization and x-api-key" in error["message"]
    assert (await cluster.http.get("/v1/models", headers={"x-api-key": KEY})).status_code == 200
    async with raw(cluster) as connection:
        connection.write(request("GET /v1/models HTTP/1.1", AUTHORIZED, "authorization: Bearer another-key"))
        assert (await connection.response()).json()["error"]["code"] == "conflicting_api_keys"


# Browsers


PAGE = "https://chat.example.org"


@pytest.fixture
async def browser(cluster: Cluster, start: Started, tmp_path: Any) -> Any:
    """A client of a gateway that knows the page's origin."""
    config = tmp_path / "tidegate.yaml"
    config.write_text(f"pools: [{{name: {MODEL}, model: {MODEL}}}]\ncors_origins: ['{PAGE}', 'tauri://localhost']\n")
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, config=config)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        yield client


PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,x-stainless-os,x-api-key",
}


async def test_a_preflight_needs_no_key(browser: httpx.AsyncClient) -> None:
    answer = await browser.options(CHAT, headers=PREFLIGHT)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == PAGE
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == PREFLIGHT["access-control-request-headers"]
    assert "access-control-allow-credentials" not in answer.headers


async def test_a_page_of_a_named_origin_may_read_answers_and_streams(browser: httpx.AsyncClient) -> None:
    headers = {"origin": PAGE, "authorization": f"Bearer {KEY}"}
    for stream in (False, True):
        answer = await browser.post(CHAT, json={**ASK, "stream": stream}, headers=headers)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == PAGE
        exposed = answer.headers["access-control-expose-headers"].split(", ")
        sent = {name for name in answer.headers if name.startswith("x-") and name != "x-accel-buffering"}
        assert {"x-request-id", "x-tidegate-model-version"} <= sent <= set(exposed)
        assert "Origin" in answer.headers["vary"]


async def test_a_page_may_read_errors(browser: httpx.AsyncClient) -> None:
    key = {"authorization": f"Bearer {KEY}"}
    for path, headers, status in (
        (CHAT, {}, 401),
        ("/v1/nothing", key, 404),
        (CHAT, {**key, "content-encoding": "br"}, 415),
    ):
        answer = await browser.post(path, json=ASK, headers={**headers, "origin": "tauri://localhost"})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == "tauri://localhost"
        assert "x-request-id" in answer.headers["access-control-expose-headers"]


async def test_other_pages_may_not(browser: httpx.AsyncClient, cluster: Cluster) -> None:
    stranger = {**PREFLIGHT, "origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in (await browser.options(CHAT, headers=stranger)).headers
    assert "access-control-allow-origin" not in (await browser.get("/livez", headers=stranger)).headers
    off = await cluster.http.get("/livez", headers={"origin": PAGE})
    assert not [name for name in off.headers if name.startswith("access-control")]


# HEAD


async def test_head_is_get_without_a_body(cluster: Cluster) -> None:
    paths = (await cluster.http.get("/openapi.json")).json()["paths"]
    gets = [path for path, operations in paths.items() if "get" in operations]
    assert {"/v1/models", "/livez", "/health", "/v2/models/{model}"} <= set(gets)
    async with raw(cluster) as connection:
        for path in gets:
            path = path.replace("{model_id}", MODEL).replace("{model}", MODEL).replace("{version}", "1")
            connection.write(request(f"HEAD {path} HTTP/1.1", AUTHORIZED))
            head = await connection.head()
            get = await cluster.http.get(path)
            assert head.status == get.status_code, path
            assert head.headers["content-type"] == get.headers["content-type"]
            assert path in ("/metrics", "/load") or head.headers["content-length"] == get.headers["content-length"]
        connection.write(request(f"HEAD {CHAT} HTTP/1.1", AUTHORIZED), request("GET /livez HTTP/1.1"))
        assert (await connection.head()).status == 405
        assert (await connection.response()).body == b"ok", "no body of a HEAD came before it"


# HTTP/1.0


async def test_http_1_0_gets_streams_without_chunks(cluster: Cluster) -> None:
    async with raw(cluster) as connection:
        connection.write(chat("1.0", stream=True))
        head = await connection.head()
        stream = await connection.to_the_end()
    assert "transfer-encoding" not in head.headers
    assert "content-length" not in head.headers
    assert head.headers["connection"] == "close"
    # On a busy machine a comment may say that the request waits.
    events = [event for event in stream.split(b"\n\n") if not event.startswith(b":")]
    assert (events[-2], events[-1]) == (b"data: [DONE]", b"")
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
    assert "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]) == text(5)


async def test_http_1_0_gets_documents_with_a_length(cluster: Cluster) -> None:
    async with raw(cluster) as connection:
        connection.write(chat("1.0", "connection: keep-alive"))
        answer = await connection.response()
        assert await connection.to_the_end() == b""
    assert "transfer-encoding" not in answer.headers
    assert answer.json()["choices"][0]["message"]["content"] == text(5)


async def test_http_1_0_gets_long_streams_whole(cluster: Cluster) -> None:
    """More than buffers hold, so that both ways of writing are used: through uvicorn, and straight to the socket."""
    cluster.worker.behaviour.tokens = 600
    async with raw(cluster) as connection:
        connection.write(chat("1.0", stream=True, max_tokens=600))
        await connection.head()
        stream = await connection.to_the_end()
    assert stream.count(b"data: {") >= 600
    assert stream.endswith(b"data: [DONE]\n\n")


# URLs that are almost right


HINTS = {
    "/v1/v1/chat/completions": " Did you mean /v1/chat/completions? Your base URL ends with /v1 already.",
    "/v1//chat/completions": " Did you mean /v1/chat/completions? Your URL has a slash too many.",
    "//v1/chat/completions": " Did you mean /v1/chat/completions? Your URL has a slash too many.",
    "/v1/chat/completions/": " Did you mean /v1/chat/completions? Your URL has a slash too many.",
    "/v1/models/": " Did you mean /v1/models? Your URL has a slash too many.",
    "/v2/models/m/infer/": " Did you mean /v2/models/m/infer? Your URL has a slash too many.",
    "/chat/completions": " Did you mean /v1/chat/completions? The base URL must end with /v1.",
    "/v1/nothing": "",
}


async def test_the_404_names_the_right_url(cluster: Cluster) -> None:
    async with raw(cluster) as connection:
        for path, hint in HINTS.items():
            method = "GET" if "models/" in path else "POST"
            connection.write(request(f"{method} {path} HTTP/1.1", AUTHORIZED, "content-length: 0"))
            answer = await connection.response()
            error = answer.json()["error"]
            assert (answer.status, error["code"]) == (404, "unknown_url")
            assert error["message"] == f"Unknown request URL: {method} {path}.{hint}"


# Compressed bodies


async def test_compressed_bodies(cluster: Cluster) -> None:
    encoded = {
        "gzip": gzip.compress(BODY),
        "GZIP": gzip.compress(BODY),
        "deflate": zlib.compress(BODY),
        "zstd": zstd.compress(BODY),
        "identity": BODY,
    }
    for encoding, body in encoded.items():
        answer = await cluster.http.post(CHAT, content=body, headers={**JSON, "content-encoding": encoding})
        assert answer.status_code == 200, answer.text
        assert answer.json()["choices"][0]["message"]["content"] == text(5)


async def test_a_compressed_body_has_the_same_limit_when_it_is_decompressed(cluster: Cluster) -> None:
    spaces = b" " * (16 * MAX_BODY_BYTES)
    for encoding, bomb in {"gzip": gzip.compress(spaces, 1), "zstd": zstd.compress(spaces)}.items():
        assert len(bomb) < MAX_BODY_BYTES
        answer = await cluster.http.post(CHAT, content=bomb, headers={**JSON, "content-encoding": encoding})
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


async def test_what_is_not_in_its_encoding_is_refused(cluster: Cluster) -> None:
    headers = {**JSON, "content-encoding": "gzip"}
    for wrong in (BODY, gzip.compress(BODY)[:-1]):
        answer = await cluster.http.post(CHAT, content=wrong, headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_content_encoding")


async def test_an_unknown_encoding_is_told_the_known_ones(cluster: Cluster) -> None:
    answer = await cluster.http.post(CHAT, content=BODY, headers={**JSON, "content-encoding": "br"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")
    assert "'br'" in answer.json()["error"]["message"]
    assert "gzip, deflate and zstd" in answer.json()["error"]["message"]
    form = {"file": ("f.jsonl", b"{}")}
    upload = await cluster.http.post("/v1/files", files=form, headers={"content-encoding": "gzip"})
    assert upload.status_code in (415, 501)


# Expect: 100-continue


def head_of(asked: bytes) -> tuple[bytes, bytes]:
    head, _, body = asked.partition(b"\r\n\r\n")
    return head + b"\r\n\r\n", body


async def test_a_client_that_waits_is_told_to_continue(cluster: Cluster) -> None:
    head, body = head_of(chat("1.1", "expect: 100-continue"))
    async with raw(cluster) as connection:
        connection.write(head)
        assert (await connection.head()).status == 100
        connection.write(body)
        answer = await connection.response()
        assert answer.json()["choices"][0]["message"]["content"] == text(5)
        connection.write(request("GET /livez HTTP/1.1"))
        assert (await connection.response()).body == b"ok", "the connection stays open"


async def test_a_client_that_does_not_wait_gets_its_answer(cluster: Cluster) -> None:
    async with raw(cluster) as connection:
        connection.write(chat("1.1", "expect: 100-continue"))
        head = await connection.head()
        if head.status == 100:
            head = await connection.head()
        assert head.status == 200


@pytest.mark.parametrize(
    ("headers", "status"), [(("content-length: 99999999", AUTHORIZED), 413), (("content-length: 50",), 401)]
)
async def test_a_refused_client_does_not_send_its_body(cluster: Cluster, headers: tuple[str, ...], status: int) -> None:
    """The connection closes: what came next could be the body or another request."""
    async with raw(cluster) as connection:
        connection.write(
            request(f"POST {CHAT} HTTP/1.1", "content-type: application/json", "expect: 100-continue", *headers)
        )
        answer = await connection.response()
        assert answer.status == status
        assert answer.headers["connection"] == "close"
        assert await connection.to_the_end() == b""


async def test_http_1_0_does_not_know_continue(cluster: Cluster) -> None:
    async with raw(cluster) as connection:
        connection.write(chat("1.0", "expect: 100-continue"))
        assert (await connection.response()).status == 200


# Upgrades


async def test_a_wish_for_http_2_is_ignored(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    """Java's client sends it with every first request; without care its body would be lost."""
    upgrade = ("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAEAAEAAAAIAAAAA")
    async with raw(cluster) as connection:
        for _ in range(2):
            connection.write(chat("1.1", *upgrade))
            answer = await connection.response()
            assert answer.status == 200, answer.body
            assert answer.json()["choices"][0]["message"]["content"] == text(5)
        connection.write(request("GET /v1/realtime HTTP/1.1", AUTHORIZED, "connection: upgrade", "upgrade: websocket"))
        assert (await connection.response()).status == 404
    assert "upgrade" not in caplog.text.lower()
