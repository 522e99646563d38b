"""The response cache: opt-in, from memory, never another tenant's answer and never an outdated one."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import pytest

from services.gateway.app import GatewayApp
from services.gateway.domain.catalog import Catalog
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, Started, settings
from tests.integration.gateway.test_ledger import written
from tests.support.fakes import EMBEDDER, MODEL, VERSION, Behaviour, FakeRouter, FakeWorker, text
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "temperature": 0}
NEW_VERSION = Behaviour.next_version
USE = {"x-tidegate-cache": "use"}


@pytest.fixture
async def gateway(start: Started, router: FakeRouter, tmp_path: Path) -> GatewayApp:
    config = tmp_path / "cached.yaml"
    config.write_text(
        "pools:\n"
        + "".join(f"- {{name: {pool}, model: m, response_cache: {{max_mib: 1}}}}\n" for pool in (MODEL, EMBEDDER))
    )
    made: GatewayApp = await start(GatewayApp(settings(router.address, config=config), random=Random(1)))
    await wait_until(lambda: made.ready() is None, description="the gateway is ready")
    return made


@pytest.fixture
async def http(gateway: GatewayApp) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", headers=headers, timeout=20) as client:
        yield client


async def ask(http: httpx.AsyncClient, path: str = CHAT, **changes: Any) -> tuple[str, httpx.Response]:
    """Returns the response header's value and the response."""
    headers = {**USE, **changes.pop("headers", {})}
    answer = await http.post(path, json={**ASK, **changes}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.headers.get("x-tidegate-cache", "none"), answer


async def test_the_second_request_is_a_hit_in_every_format(http: httpx.AsyncClient, worker: FakeWorker) -> None:
    first, whole = await ask(http)
    second, again = await ask(http)
    third, stream = await ask(http, stream=True, stream_options={"include_usage": True})
    assert (first, second, third) == ("miss", "hit", "hit")
    assert len(worker.starts) == 1
    assert again.json()["choices"] == whole.json()["choices"]
    assert again.json()["id"] != whole.json()["id"]
    assert again.headers["x-tidegate-model-version"] == VERSION
    usage = again.json()["usage"]
    assert usage["completion_tokens"] == 5
    assert usage["prompt_tokens_details"]["cached_tokens"] == usage["prompt_tokens"]
    assert stream.text.endswith("data: [DONE]\n\n")
    assert text(5).split()[-1] in stream.text


async def test_vectors_come_from_the_cache_too(http: httpx.AsyncClient, router: FakeRouter, worker: FakeWorker) -> None:
    """Nothing about them is drawn at random."""
    router.embeds = True
    router.send_catalog(VERSION)

    async def listed() -> bool:
        return EMBEDDER in (await http.get("/v1/models")).text

    await wait_until(listed, description="the pool is in the catalog")
    asked = {"model": EMBEDDER, "input": ["high tide", "ebb"]}
    first, second, other = [
        await http.post("/v1/embeddings", json=asked | changes, headers=USE) for changes in ({}, {}, {"input": ["ebb"]})
    ]
    assert [answer.headers["x-tidegate-cache"] for answer in (first, second, other)] == ["miss", "hit", "miss"]
    assert first.json()["data"] == second.json()["data"]
    assert [item["embedding"] for item in other.json()["data"]] == [[3.0, 101.0]]
    assert len(worker.starts) == 2


async def test_a_stream_is_recorded_while_its_client_gets_tokens_as_they_come(
    http: httpx.AsyncClient, worker: FakeWorker
) -> None:
    first, stream = await ask(http, stream=True)
    second, again = await ask(http, stream=True)
    assert (first, second) == ("miss", "hit")
    assert len(worker.starts) == 1
    assert _texts(again) == _texts(stream) != []


def _texts(stream: httpx.Response) -> list[str]:
    """The text of each event of a streamed chat."""
    events = [line.removeprefix("data: ") for line in stream.text.splitlines() if line.startswith("data: {")]
    return [json.loads(event)["choices"][0]["delta"].get("content", "") for event in events]


async def test_grpc_and_rest_share_it(gateway: GatewayApp, http: httpx.AsyncClient, worker: FakeWorker) -> None:
    await ask(http)
    async with grpc.aio.insecure_channel(gateway.address) as channel:
        request = inference_pb2.ChatRequest(
            model=MODEL,
            messages=[inference_pb2.Message(role="user", content="Count.")],
            sampling=inference_pb2.Sampling(temperature=0),
        )
        metadata = (("authorization", f"Bearer {KEY}"), *USE.items())
        call = inference_pb2_grpc.InferenceServiceStub(channel).Chat(request, metadata=metadata)
        text_of_answer = "".join([choice.content async for answer in call for choice in answer.choices])
        assert dict(await call.initial_metadata())["x-tidegate-cache"] == "hit"
    assert text_of_answer == text(5)
    assert len(worker.starts) == 1


async def test_answers_that_may_differ_are_never_cached(http: httpx.AsyncClient, worker: FakeWorker) -> None:
    for changes in ({"temperature": 0.5}, {"temperature": None}):
        assert [(await ask(http, **changes))[0] for _ in range(2)] == ["bypass", "bypass"]
    unasked = await http.post(CHAT, json=ASK)
    assert "x-tidegate-cache" not in unasked.headers
    assert (await ask(http))[0] == "miss"
    assert len(worker.starts) == 6


async def test_other_tenants_get_answers_of_their_own(http: httpx.AsyncClient, worker: FakeWorker) -> None:
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}

    async def made() -> bool:
        return (await http.post("/v1/admin/tenants", json={"name": "other"}, headers=admin)).status_code == 200

    await wait_until(made, description="the database is there")
    key = (await http.post("/v1/admin/keys", json={"tenant": "other", "name": "k"}, headers=admin)).json()["key"]
    assert (await ask(http))[0] == "miss"
    assert (await ask(http, headers={"authorization": f"Bearer {key}"}))[0] == "miss"
    assert (await ask(http))[0] == "hit"
    assert len(worker.starts) == 2


async def test_another_version_of_the_model_answers_anew(
    gateway: GatewayApp, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (await ask(http))[0] == "miss"
    catalog: Catalog = gateway.router.catalog  # type: ignore[assignment]
    for versions, outcome in (((VERSION, "v2"), "bypass"), (("v2",), "miss"), ((VERSION,), "hit")):
        monkeypatch.setattr(gateway.router, "catalog", replace(catalog, versions={MODEL: versions}))
        assert (await ask(http))[0] == outcome, versions


async def test_an_answer_of_two_versions_is_not_cached(
    http: httpx.AsyncClient, router: FakeRouter, worker: FakeWorker
) -> None:
    """Also not if the version that it was looked for under has ended it."""
    worker.behaviour.resumable, worker.behaviour.moves_after = True, 2
    router.send_catalog(NEW_VERSION)
    assert (await ask(http))[1].json()["choices"][0]["version_spans"]
    worker.behaviour.moves_after = None
    outcome, again = await ask(http)
    assert (outcome, "version_spans" in again.json()["choices"][0]) == ("miss", False)
    assert (await ask(http))[0] == "hit"


async def test_an_incomplete_answer_is_not_cached(http: httpx.AsyncClient, worker: FakeWorker) -> None:
    worker.behaviour.hang_after = 2
    async with http.stream("POST", CHAT, json={**ASK, "stream": True}, headers=USE) as answer:
        await anext(answer.aiter_bytes())
    worker.behaviour.hang_after = None
    assert (await ask(http))[0] == "miss"


async def test_a_hit_has_its_row_and_nothing_computed(http: httpx.AsyncClient, data_dir: Path) -> None:
    await ask(http)
    await ask(http)
    rows = await written(f"sqlite:///{data_dir / 'gateway.sqlite3'}", 2)
    made, found = sorted(rows, key=lambda row: -row["completion_tokens"])
    assert (made["completion_tokens"], found["completion_tokens"]) == (5, 0)
    assert found["prompt_tokens"] == found["cached_tokens"] == made["prompt_tokens"]
    assert (found["outcome"], found["version"]) == ("completed", VERSION)


async def test_metrics_and_a_header_that_says_something_else(http: httpx.AsyncClient) -> None:
    await ask(http)
    await ask(http)
    metrics = (await http.get("/metrics")).text
    assert 'tidegate_gateway_cache_requests_total{outcome="hit"} 1.0' in metrics
    assert "tidegate_gateway_cache_bytes 0.0" not in metrics
    refused = await http.post(CHAT, json=ASK, headers={"x-tidegate-cache": "maybe"})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "x-tidegate-cache")
