"""What cannot be served is refused in OpenAI's shape on REST, and with the equal status on gRPC."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from services.gateway.app import GatewayApp
from services.gateway.grpc.call import DETAIL
from services.gateway.grpc.server import READ_FACTOR
from services.gateway.http.connection.protocol import HttpProtocol
from services.shared.settings import split
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, Cluster, Started, settings
from tests.support.fakes import MODEL
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc

CHAT = "/v1/chat/completions"
ASK = [{"role": "user", "content": "Count."}]
JSON = {"content-type": "application/json"}
MAX_BODY_BYTES = 2 * 1024 * 1024

BODIES = {
    "empty": (b"", 400, None, "invalid_json"),
    "not JSON": (b"hello", 400, None, "invalid_json"),
    "array": (b"[]", 400, None, "invalid_json"),
    "NaN": (b'{"temperature": NaN}', 400, None, "invalid_json"),
    "bad UTF-8": (b'{"model": "\xff"}', 400, None, "invalid_json"),
    "lone surrogate": (b'{"model": "\\ud800"}', 400, None, "invalid_json"),
    "duplicate key": (b'{"model": "a", "model": "b"}', 400, None, "invalid_json"),
    "1e999": (b'{"temperature": 1e999}', 400, None, "invalid_json"),
    "over 64 bits": (b'{"seed": 9223372036854775808}', 400, None, "invalid_json"),
    "scalar": (b"5", 400, None, "invalid_json"),
    "NUL": (b'{"model": "\x00"}', 400, None, "invalid_json"),
    "template": (
        b'{"model": "m", "messages": [{"role": "user", "content": "x"}], "chat_template": "x"}',
        400,
        "chat_template",
        "unsupported_parameter",
    ),
    "too deep": (b'{"a":' + b"[" * 100_000, 400, None, "invalid_json"),
    "no model": (b"{}", 400, "model", "missing_required_parameter"),
    "too large": (b" " * (2 * 1024 * 1024 + 1), 413, None, "request_too_large"),
}


def assert_openai_error(answer: Any, status: int, param: str | None, code: str) -> None:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert (error["param"], error["code"]) == (param, code)
    assert answer.headers["x-request-id"]
    assert answer.headers["x-tidegate-model-version"] == "none"


@pytest.mark.parametrize("name", BODIES)
async def test_bodies(cluster: Cluster, name: str) -> None:
    body, status, param, code = BODIES[name]
    assert_openai_error(await cluster.http.post(CHAT, content=body, headers=JSON), status, param, code)


async def test_chunked_body_too_large(cluster: Cluster) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 65_536

    answer = await cluster.http.post(CHAT, content=chunks(), headers=JSON)
    assert_openai_error(answer, 413, None, "request_too_large")


@pytest.mark.parametrize("headers", [{"content-type": "text/plain"}, {**JSON, "content-encoding": "br"}])
async def test_media(cluster: Cluster, headers: dict[str, str]) -> None:
    answer = await cluster.http.post(CHAT, content=b"{}", headers=headers)
    assert_openai_error(answer, 415, None, "unsupported_media_type")


async def test_keys(cluster: Cluster) -> None:
    for header in ("Bearer wrong", f"Basic {KEY}", "", "Bearer", f"Bearer {KEY}x", "Bearer " + "k" * 8000):
        answer = await cluster.http.get("/v1/models", headers={"authorization": header})
        assert_openai_error(answer, 401, None, "invalid_api_key")
    admin = await cluster.http.get("/v1/models", headers={"authorization": f"Bearer {ADMIN_KEY}"})
    assert admin.status_code == 200
    unknown = await cluster.http.get("/nothing", headers={"authorization": "Bearer wrong"})
    assert unknown.status_code == 401


async def test_routes(cluster: Cluster) -> None:
    assert_openai_error(await cluster.http.get("/v1/nothing"), 404, None, "unknown_url")
    answer = await cluster.http.get(CHAT)
    assert_openai_error(answer, 405, None, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


async def test_unknown_model(cluster: Cluster) -> None:
    for model in ("gpt-9", "../../etc/passwd", "m" * 200):
        answer = await cluster.http.post(CHAT, json={"model": model, "messages": ASK})
        assert_openai_error(answer, 404, "model", "model_not_found")


@pytest.mark.parametrize(
    "header", [b"x-big: " + b"a" * 20_000, b"\r\n".join(b"x-%d: 1" % n for n in range(101)), b"host: b"]
)
async def test_headers_are_bounded(cluster: Cluster, header: bytes) -> None:
    reader, writer = await asyncio.open_connection(*split(cluster.gateway.http_address))
    writer.write(b"GET /livez HTTP/1.1\r\nhost: a\r\n" + header + b"\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400" if header.startswith(b"host") else b"HTTP/1.1 431")
    assert b'"code":"invalid_http"' in answer


async def test_trickled_headers(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit counts from the first byte, however often another one comes; a silent connection has the same."""
    monkeypatch.setattr(HttpProtocol, "header_timeout_s", 0.5)
    for begun in (b"GET /livez HTTP/1.1\r\nhost: a\r\n", b""):
        reader, writer = await asyncio.open_connection(*split(cluster.gateway.http_address))
        writer.write(begun)
        answered = asyncio.create_task(reader.readuntil(b"\r\n\r\n"))
        while begun and not answered.done():
            writer.write(b"x-a: b\r\n")
            await asyncio.wait([answered], timeout=0.1)
        answer = await asyncio.wait_for(answered, 20)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 408")


async def test_trickled_body(cluster: Cluster, start: Started) -> None:
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, body_timeout_s=0.5)))
    reader, writer = await asyncio.open_connection(*split(gateway.http_address))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    writer.write(head.encode() + b"content-length: 1000\r\n\r\n")
    # Not to the end: what is written after it has answered and left is answered with a reset.
    answered = asyncio.create_task(reader.readuntil(b'"code":"request_timeout"'))
    while not answered.done():
        writer.write(b" ")
        await asyncio.wait([answered], timeout=0.1)
    writer.close()
    assert (await answered).startswith(b"HTTP/1.1 408")


async def test_two_content_lengths_are_refused(cluster: Cluster) -> None:
    """The classic of request smuggling."""
    reader, writer = await asyncio.open_connection(*split(cluster.gateway.http_address))
    writer.write(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 400")


GRPC: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "max_tokens 0": ({"sampling": {"max_tokens": 0}}, "INVALID_ARGUMENT", "max_tokens", "invalid_value"),
    "temperature": ({"sampling": {"temperature": float("nan")}}, "INVALID_ARGUMENT", "temperature", "invalid_value"),
    "unknown model": ({"model": "gpt-9"}, "NOT_FOUND", "model", "model_not_found"),
    "no messages": ({"messages": []}, "INVALID_ARGUMENT", "messages", "invalid_value"),
    "over context": (
        {"sampling": {"max_tokens": 10**9}}, "INVALID_ARGUMENT", "max_tokens", "context_length_exceeded"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRPC)
async def test_grpc_and_rest_refuse_with_the_same_error(cluster: Cluster, name: str) -> None:
    changes, status, param, code = GRPC[name]
    request: dict[str, Any] = {"model": MODEL, "messages": ASK, **changes}
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    metadata = (("authorization", f"Bearer {KEY}"),)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Chat(inference_pb2.ChatRequest(**request), metadata=metadata).read()
    assert refused.value.code() == grpc.StatusCode[status]
    detail = _detail(refused.value)
    assert (detail.param, detail.code) == (param, code)
    if "nan" not in str(request):
        document = {"model": request["model"], "messages": request["messages"], **request.get("sampling", {})}
        answer = await cluster.http.post(CHAT, json=document)
        assert answer.json()["error"]["message"] == detail.message == refused.value.details()
        assert answer.json()["error"]["code"] == code


async def test_grpc_needs_the_key(cluster: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.ListModels(inference_pb2.ListModelsRequest())
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert _detail(refused.value).code == "invalid_api_key"


def _detail(error: grpc.aio.AioRpcError) -> inference_pb2.OpenAIError:
    trailing: dict[str, Any] = dict(error.trailing_metadata() or ())
    return inference_pb2.OpenAIError.FromString(trailing[DETAIL])


TOOL = {"name": "look", "parameters": "{}"}
GRPC_ONLY: dict[str, tuple[dict[str, Any], str]] = {
    "too many tools": ({"tools": [{"name": f"t{n}"} for n in range(129)]}, "tools"),
    "bad tool name": ({"tools": [{"name": "a b"}]}, "tools[0].function.name"),
    "arguments that are no JSON": ({"tools": [{"name": "a", "parameters": "{"}]}, "tools[0].parameters"),
    "schema with a duplicate key": ({"structure": {"json_schema": '{"a": 1, "a": 2}'}}, "structure.json_schema"),
    "invalid schema": ({"structure": {"json_schema": '{"type": 5}'}}, "structured_outputs.json"),
    "remote schema": ({"structure": {"json_schema": '{"$ref": "http://a"}'}}, "structured_outputs.json"),
    "regex that looks around": ({"structure": {"regex": "(?=a)"}}, "structured_outputs.regex"),
    "unknown tool": ({"tools": [TOOL], "tool_choice": {"functions": ["other"]}}, "tool_choice"),
    "unknown mode": ({"tools": [TOOL], "tool_choice": {"mode": "perhaps"}}, "tool_choice"),
    "orphan tool_call_id": ({"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]},
                            "messages[0].tool_call_id"),
    "17 stops": ({"sampling": {"stop": ["a"] * 17}}, "stop"),
    "logit_bias": ({"sampling": {"logit_bias": {1: 101}}}, "logit_bias.1"),
    "logprobs": ({"top_logprobs": 21}, "top_logprobs"),
    "min over max": ({"sampling": {"min_tokens": 2, "max_tokens": 1}}, "min_tokens"),
    "NUL": ({"messages": [{"role": "user", "content": "\x00"}]}, "messages[0].content"),
}  # fmt: skip


@pytest.mark.parametrize("name", GRPC_ONLY)
async def test_grpc_uses_the_same_validator(cluster: Cluster, name: str) -> None:
    changes, param = GRPC_ONLY[name]
    request: dict[str, Any] = {"model": MODEL, "messages": ASK, **changes}
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Chat(inference_pb2.ChatRequest(**request), metadata=(("authorization", f"Bearer {KEY}"),)).read()
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert _detail(refused.value).param == param
    assert not cluster.router.submits


def large(size: int) -> inference_pb2.ChatRequest:
    message = inference_pb2.Message(role="user", content="x" * size)
    return inference_pb2.ChatRequest(model=MODEL, messages=[message])


async def test_a_grpc_message_that_is_too_large_gets_an_openai_error(cluster: Cluster) -> None:
    """The same as over REST. Only a message of several times the limit gets gRPC's own status, without a detail."""
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    metadata = (("authorization", f"Bearer {KEY}"),)
    for size, code in ((MAX_BODY_BYTES + 1, "request_too_large"), (READ_FACTOR * MAX_BODY_BYTES + 1, None)):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            [answer async for answer in stub.Chat(large(size), metadata=metadata)]
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        if code:
            assert _detail(refused.value).code == code
            assert refused.value.details() == f"The request is larger than {MAX_BODY_BYTES} bytes."
    assert [answer async for answer in stub.Chat(large(1024), metadata=metadata)]


async def test_grpc_bounds_of_the_transport(cluster: Cluster) -> None:
    """Below any servicer, so without an OpenAI error; and the server goes on."""
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    key = ("authorization", f"Bearer {KEY}")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        [answer async for answer in stub.Chat(large(5), metadata=(key, ("x-big", "a" * 10_000)))]
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    absurd = stub.Chat(large(5), metadata=(key,), timeout=10.0**9)
    assert [answer async for answer in absurd]
    assert cluster.router.submits[0].timeout_ms <= 900_000
