"""Streams that go on after the event that the client has last seen, on the same gateway or on another."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import pytest

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, Started, settings
from tests.support.fakes import MODEL, Behaviour, FakeRouter, FakeWorker, text
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc

CHAT, LEGACY = "/v1/chat/completions", "/v1/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}], "stream": True}
KEYED = {"idempotency-key": "order-1"}
TOKENS = 8


@dataclass
class Event:
    id: str | None
    data: Any


@dataclass(frozen=True, slots=True)
class Gateways:
    first: httpx.AsyncClient
    second: httpx.AsyncClient
    apps: list[GatewayApp]


async def gateway(start: Started, told: GatewaySettings, seed: int) -> GatewayApp:
    app: GatewayApp = await start(GatewayApp(told, random=Random(seed)))
    await wait_until(lambda: app.ready() is None, description="the gateway is ready")
    return app


@pytest.fixture
async def gateways(start: Started, router: FakeRouter, worker: FakeWorker, tmp_path: Path) -> Any:
    worker.behaviour.resumable, worker.behaviour.tokens = True, TOKENS
    config = tmp_path / "tidegate.yaml"
    config.write_text(f"pools: [{{name: {MODEL}, model: m, journal: {{stream_kib: 1}}}}]\n")
    apps = [await gateway(start, settings(router.address, config=config), seed) for seed in range(2)]
    key = {"authorization": f"Bearer {KEY}"}
    async with (
        httpx.AsyncClient(base_url=f"http://{apps[0].http_address}", headers=key, timeout=20) as first,
        httpx.AsyncClient(base_url=f"http://{apps[1].http_address}", headers=key, timeout=20) as second,
    ):
        yield Gateways(first, second, apps)


async def ask(client: httpx.AsyncClient, after: str = "", **changes: Any) -> list[Event]:
    return await ask_for(client, CHAT, {**BODY, **changes}, after)


async def ask_for(client: httpx.AsyncClient, path: str, body: dict[str, Any], after: str = "") -> list[Event]:
    answer = await client.post(path, json=body, headers={**KEYED, **({"last-event-id": after} if after else {})})
    assert answer.status_code == 200, answer.text
    assert answer.text.endswith("data: [DONE]\n\n")
    # A slow machine may have told of the queue first, in a comment.
    return [_event(block) for block in answer.text.split("\n\n")[:-2] if not block.startswith(":")]


def _event(block: str) -> Event:
    lines = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
    return Event(lines.get("id"), json.loads(lines["data"]))


def said(events: list[Event], choice: int = 0) -> str:
    shown = [c for event in events for c in event.data["choices"] if c["index"] == choice]
    return "".join(c["delta"].get("content", "") if "delta" in c else c["text"] for c in shown)


@pytest.mark.parametrize("same_gateway", [True, False])
@pytest.mark.parametrize("choices", [1, 3])
async def test_a_stream_continues_after_any_of_its_events(gateways: Gateways, same_gateway: bool, choices: int) -> None:
    asked: dict[str, Any] = {"n": choices, "stream_options": {"include_usage": True}}
    whole = await ask(gateways.first, **asked)
    assert said(whole) == text(TOKENS)
    named = [n for n, event in enumerate(whole) if event.id]
    assert len(named) == 1 + choices * TOKENS
    for n in named:
        rest = await ask(gateways.first if same_gateway else gateways.second, whole[n].id or "", **asked)
        for choice in range(choices):
            assert said(whole[: n + 1], choice) + said(rest, choice) == text(TOKENS, choice)
        assert rest[-1].data["usage"]["completion_tokens"] == choices * TOKENS
        assert {(e.data["id"], e.data["created"]) for e in rest} == {(whole[0].data["id"], whole[0].data["created"])}
        assert not [e for e in rest if any(c["delta"].get("role") for c in e.data["choices"])]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_gateway_that_does_not_know_the_key_generates_again(
    gateways: Gateways, worker: FakeWorker, stream: bool
) -> None:
    """So that whoever asks again after the loss of a gateway is answered, and not told that it asks already."""
    worker.behaviour.hang_after, woken = 1, asyncio.Event()
    worker.behaviour.wakes = woken
    lost = asyncio.create_task(gateways.first.post(CHAT, json={**BODY, "stream": stream}, headers=KEYED))
    await wait_until(lambda: worker.starts, description="the request runs")
    worker.behaviour = Behaviour()
    again = await gateways.second.post(CHAT, json={**BODY, "stream": stream}, headers=KEYED)
    assert (again.status_code, text(1) in again.text) == (200, True)
    woken.set()
    assert (await lost).status_code == 200


async def test_completions_resume_but_not_with_log_probabilities(gateways: Gateways) -> None:
    body = {"model": MODEL, "prompt": "Count.", "stream": True}
    whole = await ask_for(gateways.first, LEGACY, body)
    rest = await ask_for(gateways.second, LEGACY, body, whole[2].id or "")
    assert said(whole[:3]) + said(rest) == text(TOKENS)
    other = {**body, "logprobs": 1}
    told = await gateways.first.post(LEGACY, json=other, headers={"idempotency-key": "order-2"})
    assert told.status_code == 200
    assert "id: " not in told.text


async def test_a_resumed_stream_can_be_resumed_again(gateways: Gateways, worker: FakeWorker) -> None:
    whole = await ask(gateways.first)
    second = await ask(gateways.second, whole[2].id or "")
    third = await ask(gateways.first, second[3].id or "")
    assert said(whole[:3]) + said(second[:4]) + said(third) == text(TOKENS)
    assert [len(start.resume[0].token_ids) if start.resume else 0 for start in worker.starts] == [0, 2, 6]


async def test_a_stream_whose_version_changed_continues_with_the_version_that_it_had_come_to(
    gateways: Gateways, router: FakeRouter, worker: FakeWorker
) -> None:
    worker.behaviour.moves_after = 3
    whole = await ask(gateways.first)
    fingerprints = [event.data["system_fingerprint"] for event in whole]
    assert len(set(fingerprints)) == 2
    router.send_catalog(worker.version)
    crossed = fingerprints.index(fingerprints[-1])
    for n in (crossed, crossed + 1):
        rest = await ask(gateways.second, whole[n].id or "")
        assert said(whole[: n + 1]) + said(rest) == text(TOKENS)
        assert {event.data["system_fingerprint"] for event in rest} == {fingerprints[-1]}
        assert router.submits[-1].model_version == worker.version

    async def is_refused() -> bool:
        headers = {**KEYED, "last-event-id": whole[crossed - 1].id or ""}
        return (await gateways.second.post(CHAT, json=BODY, headers=headers)).status_code == 409

    await wait_until(is_refused, description="nobody has the version before any more")


async def test_the_rest_of_a_complete_answer_needs_no_worker(gateways: Gateways, router: FakeRouter) -> None:
    whole = await ask(gateways.first)
    last = [event for event in whole if event.id][-1]
    submits = len(router.submits)
    assert await ask(gateways.second, last.id or "") == []
    assert len(router.submits) == submits


async def test_a_stream_that_no_worker_could_continue_has_no_ids(gateways: Gateways, worker: FakeWorker) -> None:
    worker.behaviour.resumable = False
    assert [event.id for event in await ask(gateways.first)] == [None] * (TOKENS + 1)


async def test_ids_of_other_requests_are_refused_before_anything_is_generated(
    gateways: Gateways, router: FakeRouter
) -> None:
    event_id = (await ask(gateways.first))[2].id or ""
    asked, second = len(router.submits), gateways.second
    foreign = {"authorization": f"Bearer {await key_of_another_tenant(second)}"}
    cases: list[tuple[dict[str, Any], dict[str, str], str | None]] = [
        ({}, {**KEYED, "last-event-id": "garbage"}, "invalid_event_id"),
        ({}, {**KEYED, "last-event-id": event_id[:-5]}, "invalid_event_id"),
        ({}, {**KEYED, "last-event-id": event_id, **foreign}, "invalid_event_id"),
        ({}, {"idempotency-key": "order-2", "last-event-id": event_id}, "invalid_event_id"),
        ({"seed": 1}, {**KEYED, "last-event-id": event_id}, "invalid_event_id"),
        ({}, {"last-event-id": event_id}, None),
        ({"stream": False}, {**KEYED, "last-event-id": event_id}, None),
    ]
    for changes, headers, code in cases:
        answer = await second.post(CHAT, json={**BODY, **changes}, headers=headers)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, "last-event-id", code), headers
    responses = {"model": MODEL, "input": "Count.", "stream": True}
    answer = await second.post("/v1/responses", json=responses, headers={**KEYED, "last-event-id": event_id})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "last-event-id")
    assert len(router.submits) == asked


async def key_of_another_tenant(client: httpx.AsyncClient) -> str:
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}

    async def database_is_there() -> bool:
        return (await client.get("/v1/admin/keys", headers=admin)).status_code == 200

    await wait_until(database_is_there, description="the database is there")
    await client.post("/v1/admin/tenants", json={"name": "acme"}, headers=admin)
    made = await client.post("/v1/admin/keys", json={"name": "test", "tenant": "acme"}, headers=admin)
    return str(made.json()["key"])


async def test_a_stream_that_the_resume_log_lost_is_refused(
    gateways: Gateways, router: FakeRouter, worker: FakeWorker
) -> None:
    """An id says by itself what the resume log had not got when it was made; other ids need it."""
    worker.behaviour.hang_after, worker.behaviour.wakes = 2, asyncio.Event()
    asked = asyncio.create_task(ask(gateways.first))
    await wait_until(lambda: any(map(len, router.logs.values())), description="the resume log has the beginning")
    worker.behaviour.wakes.set()
    whole = await asked
    router.logs.clear()
    early, late = whole[0].id or "", whole[-1].id or ""
    assert said(await ask(gateways.second, early)) == text(TOKENS)
    answer = await gateways.second.post(CHAT, json=BODY, headers={**KEYED, "last-event-id": late})
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "event_id_expired")


async def test_a_stream_is_not_continued_by_another_version(
    gateways: Gateways, router: FakeRouter, worker: FakeWorker
) -> None:
    whole = await ask(gateways.first)
    # To the gateway that connected last, which is the second.
    router.send_catalog(version="v2")
    known = gateways.apps[1].router
    await wait_until(lambda: known.catalog and known.catalog.versions[MODEL] == ("v2",), description="it knows")
    answer = await gateways.second.post(CHAT, json=BODY, headers={**KEYED, "last-event-id": whole[3].id or ""})
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "version_replaced")
    assert await ask(gateways.second, [event for event in whole if event.id][-1].id or "") == []


async def test_ids_end_when_the_resume_log_is_full(gateways: Gateways, router: FakeRouter, worker: FakeWorker) -> None:
    """With an empty one, so that no client goes on where it was long ago."""
    router.room_for_logs, worker.behaviour.tokens = 0, 300
    whole = await ask(gateways.first)
    ids = [event.id for event in whole]
    assert all(ids[:20])
    assert set(ids[-100:]) == {""}
    known = max(n for n, event_id in enumerate(ids) if event_id)
    assert said(whole[: known + 1]) + said(await ask(gateways.second, ids[known] or "")) == text(300)


async def complete(address: str, **fields: Any) -> list[inference_pb2.CompleteResponse]:
    request = inference_pb2.CompleteRequest(model=MODEL, prompt="Count.", resumable=True, **fields)
    async with grpc.aio.insecure_channel(address) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        return [message async for message in stub.Complete(request, metadata=(("authorization", f"Bearer {KEY}"),))]


async def test_streams_resume_over_grpc(gateways: Gateways, worker: FakeWorker, router: FakeRouter) -> None:
    worker.behaviour.hang_after, worker.behaviour.wakes = 3, asyncio.Event()
    asked = asyncio.create_task(complete(gateways.apps[0].address))
    await wait_until(lambda: any(map(len, router.logs.values())), description="the resume log has the beginning")
    worker.behaviour.wakes.set()
    whole = await asked
    for n in range(len(whole) - 1):
        rest = await complete(gateways.apps[1].address, last_event_id=whole[n].event_id)
        told = [choice.text for message in [*whole[: n + 1], *rest] for choice in message.choices]
        assert "".join(told) == text(TOKENS)
        assert {(message.id, message.created) for message in rest} == {(whole[0].id, whole[0].created)}
        assert rest[-1].usage == whole[-1].usage
    for changes in ({"last_event_id": "garbage"}, {"last_event_id": whole[0].event_id, "echo": True}):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await complete(gateways.apps[1].address, **changes)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
