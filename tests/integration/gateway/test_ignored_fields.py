"""The answer names what was left out of its request: over REST and gRPC, whole and streamed, and when sent again."""

from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, FakeRouter, text
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc

HEADER = "x-tidegate-ignored"
CHAT = "/v1/chat/completions"
USER = {"role": "user", "content": "Count.", "cache_control": {"type": "ephemeral"}}
ASK: dict[str, Any] = {"model": MODEL, "messages": [USER], "user": "u", "tidal": 1}
NAMED = "messages[0].cache_control, user, tidal"


def counted(cluster: Cluster, name: str) -> float:
    found = cluster.gateway.metrics.registry.get_sample_value("tidegate_gateway_ignored_fields_total", {"field": name})
    return found or 0.0


@pytest.mark.parametrize("stream", [False, True])
async def test_chats(cluster: Cluster, stream: bool) -> None:
    answer = await cluster.http.post(CHAT, json={**ASK, "stream": stream})
    assert answer.status_code == 200, answer.text
    assert sorted(answer.headers[HEADER].split(", ")) == sorted(NAMED.split(", "))
    assert b"cache_control" not in cluster.worker.starts[0].chat.messages_json
    assert {name: counted(cluster, name) for name in ("cache_control", "user", "other", "tidal")} == {
        "cache_control": 1, "user": 1, "other": 1, "tidal": 0
    }  # fmt: skip


async def test_requests_of_which_nothing_is_left_out_have_no_header(cluster: Cluster) -> None:
    answer = await cluster.http.post(CHAT, json={"model": MODEL, "messages": [{"role": "user", "content": "Count."}]})
    assert answer.status_code == 200
    assert HEADER not in answer.headers


async def test_other_endpoints(cluster: Cluster) -> None:
    for path, body in (("/v1/completions", {"prompt": "a"}), ("/v1/responses", {"input": "a", "store": True})):
        answer = await cluster.http.post(path, json={"model": MODEL, "tidal": 1, **body})
        assert answer.status_code == 200, answer.text
        assert answer.headers[HEADER].endswith("tidal") or answer.headers[HEADER].startswith("tidal")
    refused = await cluster.http.post("/v1/embeddings", json={"model": MODEL, "input": "a", "tidal": 1})
    assert (refused.status_code, refused.headers[HEADER]) == (400, "tidal")


async def test_a_response_that_is_sent_again_names_them_too(cluster: Cluster) -> None:
    key = {"idempotency-key": "one"}
    first, again = [await cluster.http.post(CHAT, json=ASK, headers=key) for _ in range(2)]
    assert first.json() == again.json()
    assert first.headers[HEADER] == again.headers[HEADER]


async def test_query_parameters_that_a_path_does_not_have_are_named(cluster: Cluster) -> None:
    made = await cluster.http.post("/v1/responses", json={"model": MODEL, "input": "a"})
    path = f"/v1/responses/{made.json()['id']}"
    shown = await cluster.http.get(
        path, params={"include[]": "reasoning.encrypted_content", "a é": "", "stream": "false"}
    )
    assert (shown.status_code, shown.headers[HEADER]) == (200, "include[], a??")
    assert shown.json()["id"] == made.json()["id"]
    assert (counted(cluster, "include"), counted(cluster, "other")) == (1, 1)
    items = await cluster.http.get(f"{path}/input_items?limit=1&include=x&include=y")
    assert (items.status_code, items.headers[HEADER]) == (200, "include")
    assert HEADER not in (await cluster.http.get(f"{path}/input_items?limit=1&after=")).headers
    refused = await cluster.http.get(f"{path}?stream=true&starting_after=3")
    assert (refused.status_code, refused.headers[HEADER]) == (400, "starting_after")


async def test_query_parameters_come_after_fields(cluster: Cluster) -> None:
    asked = await cluster.http.post(f"{CHAT}?api-version=2&beta=true", json=ASK)
    assert (asked.status_code, asked.headers[HEADER]) == (200, f"{NAMED}, api-version")
    many = await cluster.http.get("/v1/models", params={f"p{number}": "" for number in range(20)})
    assert many.headers[HEADER] == ", ".join([*(f"p{number}" for number in range(16)), "..."])


async def test_grpc(cluster: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    request = inference_pb2.ChatRequest(
        model=MODEL, messages=[inference_pb2.Message(role="user", content="Count.")], user="u", metadata={"a": "b"}
    )
    call = stub.Chat(request, metadata=(("authorization", f"Bearer {KEY}"),))
    assert dict(await call.initial_metadata())[HEADER] == "user, metadata"
    assert "".join([choice.content async for message in call for choice in message.choices]) == text(5)


async def test_a_request_may_ask_for_strictness(cluster: Cluster) -> None:
    answer = await cluster.http.post(CHAT, json=ASK, headers={"x-tidegate-strict": "true"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "tidal"
    assert not cluster.router.submits
    plain = {"model": MODEL, "messages": [USER]}
    answer = await cluster.http.post(CHAT, json=plain, headers={"x-tidegate-strict": "true"})
    assert (answer.status_code, answer.headers[HEADER]) == (200, "messages[0].cache_control")


@pytest.fixture
async def strict(start: Started, router: FakeRouter, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    config = tmp_path / "strict.yaml"
    config.write_text(f"strict_requests: true\npools: [{{name: {MODEL}, model: m}}]\n")
    made: GatewayApp = await start(GatewayApp(settings(router.address, config=config), random=Random(1)))
    await wait_until(lambda: made.ready() is None, description="the gateway is ready")
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://{made.http_address}", headers=headers, timeout=20) as client:
        yield client


async def test_a_deployment_may_be_strict(strict: httpx.AsyncClient) -> None:
    for path, body in ((CHAT, {"messages": [USER]}), ("/v1/responses", {"input": "a"})):
        wrong = await strict.post(path, json={"model": MODEL, **body, "tidal": 1})
        assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "unknown_parameter")
        assert (await strict.post(path, json={"model": MODEL, **body})).status_code == 200
