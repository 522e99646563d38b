"""Paths that tell of the server, keys, and HTTP itself."""

import gzip

import httpx
import orjson

from services.shared.settings import split
from tests.conformance.api import Api, error_object, expect, parse_events, question, same
from tests.support.raw_http import RawConnection, request

CHAT = "/v1/chat/completions"


async def health(api: Api) -> None:
    """`/health` needs no key."""
    same((await api.http.get("/health")).status_code, 200, "the status")


async def ping(api: Api) -> None:
    """`/ping` answers GET and POST."""
    same((await api.http.get("/ping")).status_code, 200, "the status of GET")
    same((await api.http.post("/ping")).status_code, 200, "the status of POST")


async def version(api: Api) -> None:
    """`/version` names a version."""
    expect(bool((await api.http.get("/version")).json()["version"]), "there is no version")


async def load(api: Api) -> None:
    """`/load` counts the requests that the server holds."""
    expect(isinstance((await api.get("/load"))["server_load"], int), "server_load is no number")


async def metrics(api: Api) -> None:
    """`/metrics` is in Prometheus's text format."""
    answer = await api.http.get("/metrics")
    same(answer.status_code, 200, "the status")
    expect(answer.headers["content-type"].startswith("text/plain"), "it is no text")
    expect("# TYPE " in answer.text, "no metric has a type")


async def openapi(api: Api) -> None:
    """`/openapi.json` describes the chat endpoint."""
    expect(CHAT in (await api.http.get("/openapi.json")).json()["paths"], "there are no chats")


async def openapi_names_streams(api: Api) -> None:
    """The OpenAPI document says that chats may be streams."""
    document = (await api.http.get("/openapi.json")).json()
    content = document["paths"][CHAT]["post"]["responses"]["200"]["content"]
    expect("text/event-stream" in content, f"only {list(content)}")


async def a_key_is_needed(api: Api) -> None:
    """Without a key, and with a wrong one, the status is 401."""
    for headers in ({}, {"authorization": "Bearer of-nobody"}):
        same((await api.http.get("/v1/models", headers=headers)).status_code, 401, f"the status with {headers}")


async def a_missing_key_has_an_error_object(api: Api) -> None:
    """The 401 has OpenAI's error object."""
    error_object(await api.http.get("/v1/models"))


async def keys_as_x_api_key(api: Api) -> None:
    """The key may come as `x-api-key`, as Anthropic's clients send it."""
    answer = await api.http.get("/v1/models", headers={"x-api-key": api.target.key})
    same(answer.status_code, 200, "the status")


async def request_ids(api: Api) -> None:
    """Each answer names its request in `x-request-id`."""
    expect("x-request-id" in (await api.send("GET", "/v1/models")).headers, "the header is missing")


async def head(api: Api) -> None:
    """HEAD is answered wherever GET is, without a body."""
    for path in ("/health", "/v1/models"):
        answer = await api.send("HEAD", path)
        same((answer.status_code, answer.content), (200, b""), f"HEAD {path}")


async def unknown_path(api: Api) -> None:
    """An unknown path is a 404 with an error object."""
    answer = await api.send("GET", "/v1/no-such-path")
    same(answer.status_code, 404, "the status")
    error_object(answer)


async def wrong_method(api: Api) -> None:
    """GET of a chat is a 405 with an error object."""
    answer = await api.send("GET", CHAT)
    same(answer.status_code, 405, "the status")
    error_object(answer)


async def v1_twice(api: Api) -> None:
    """A base URL with `/v1` twice is a 404 that names the right URL."""
    answer = await api.send("POST", f"/v1{CHAT}", json={})
    same(answer.status_code, 404, "the status")
    expect(f"{CHAT}" in error_object(answer)["message"].replace(f"/v1{CHAT}", ""), answer.text[:200])


async def compressed_bodies(api: Api) -> None:
    """A body may be compressed with gzip."""
    body = gzip.compress(orjson.dumps({"model": api.target.model, **question("Hi.", {})}))
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    same((await api.send("POST", CHAT, content=body, headers=headers)).status_code, 200, "the status")


async def wrong_content_type(api: Api) -> None:
    """A body that is not called JSON is refused."""
    answer = await api.send("POST", CHAT, content=b"{}", headers={"content-type": "text/plain"})
    expect(answer.status_code in (400, 415, 422), f"the status is {answer.status_code}")
    error_object(answer)


async def content_type_with_charset(api: Api) -> None:
    """The content type may name a charset."""
    body = orjson.dumps({"model": api.target.model, **question("Hi.", {})})
    answer = await api.send("POST", CHAT, content=body, headers={"content-type": "application/json; charset=utf-8"})
    same(answer.status_code, 200, "the status")


async def http_1_0(api: Api) -> None:
    """A stream over HTTP/1.0 has no chunk framing and ends with the connection."""
    body = orjson.dumps({"model": api.target.model, **question("Hi.", {"stream": True})})
    url = httpx.URL(api.target.root)
    address = f"{url.host}:{url.port}"
    split(address)
    async with RawConnection(address) as connection:
        headers = [f"{name}: {value}" for name, value in api.authorization.items()]
        headers += ["content-type: application/json", f"content-length: {len(body)}"]
        connection.write(request(f"POST {CHAT} HTTP/1.0", *headers, body=body))
        answer = await connection.head()
        text = (await connection.to_the_end()).decode()
    same(answer.status, 200, "the status")
    expect("transfer-encoding" not in answer.headers, "the body has chunks")
    same(parse_events(text)[-1].data, "[DONE]", "the last event")
