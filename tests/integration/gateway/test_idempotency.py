"""Idempotency-Key: one piece of work however often it is asked for."""

import asyncio
import json
from typing import Any

import pytest

from services.gateway.http.idempotency import recorded_responses
from services.gateway.http.idempotency.recorded_responses import Amount
from tests.integration.gateway.conftest import ADMIN_KEY, Cluster
from tests.support.fakes import MODEL, text
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2

CHAT = "/v1/chat/completions"
BODY: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
KEYED = {"idempotency-key": "order-1"}


@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_request_twice_is_one(cluster: Cluster, stream: bool) -> None:
    cluster.router.holding = True
    body = {**BODY, "stream": stream}
    asked = [asyncio.create_task(cluster.http.post(CHAT, json=body, headers=KEYED)) for _ in range(3)]
    await wait_until(lambda: cluster.router.submits, description="the request is queued")
    cluster.router.grant(cluster.router.submits[0])
    answers = [await answer for answer in asked]
    answers.append(await cluster.http.post(CHAT, json=dict(reversed(body.items())), headers=KEYED))
    assert len({answer.content for answer in answers}) == 1
    assert text(1).encode() in answers[0].content
    assert len({answer.headers["x-request-id"] for answer in answers}) == 4
    assert {answer.headers["x-tidegate-model-version"] for answer in answers} != {"none"}
    assert len(cluster.router.submits) == 1
    await cluster.idle()


async def test_the_same_key_with_another_body_or_path_is_refused(cluster: Cluster) -> None:
    await cluster.http.post(CHAT, json=BODY, headers=KEYED)
    other = await cluster.http.post(CHAT, json={**BODY, "seed": 1}, headers=KEYED)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "idempotency_key_reused")
    prompt = await cluster.http.post("/v1/responses", json={"model": MODEL, "input": "x"}, headers=KEYED)
    assert prompt.status_code == 409
    assert len(cluster.router.submits) == 1


async def test_a_generation_continues_without_its_client(cluster: Cluster) -> None:
    cluster.router.holding = True
    first = asyncio.create_task(cluster.http.post(CHAT, json={**BODY, "stream": True}, headers=KEYED))
    await wait_until(lambda: cluster.router.submits, description="the request is queued")
    first.cancel()
    await asyncio.wait([first])
    again = asyncio.create_task(cluster.http.post(CHAT, json={**BODY, "stream": True}, headers=KEYED))
    await wait_until(lambda: cluster.gateway.metrics.open_requests._value.get() == 1, description="it still runs")
    cluster.router.grant(cluster.router.submits[0])
    assert (await again).text.endswith("[DONE]\n\n")
    assert len(cluster.router.submits) == 1


async def test_a_failure_is_not_recorded(cluster: Cluster) -> None:
    cluster.router.reject = router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL)
    refused = await cluster.http.post(CHAT, json=BODY, headers=KEYED)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
    assert refused.headers["retry-after"]
    cluster.router.reject = None
    assert (await cluster.http.post(CHAT, json=BODY, headers=KEYED)).status_code == 200


async def test_recordings_are_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_responses, "TENANT_LIMIT", Amount(2, 1_000_000))
    for number in range(3):
        await cluster.http.post(CHAT, json=BODY, headers={"idempotency-key": str(number)})
    await cluster.http.post(CHAT, json=BODY, headers={"idempotency-key": "2"})
    assert len(cluster.router.submits) == 3
    await cluster.http.post(CHAT, json=BODY, headers={"idempotency-key": "0"})
    assert len(cluster.router.submits) == 4
    monkeypatch.setattr(recorded_responses, "MAX_ANSWER_BYTES", 600)
    large = await cluster.http.post(CHAT, json={**BODY, "stream": True}, headers={"idempotency-key": "large"})
    assert "Leave the header out" in large.text


async def test_growing_recordings_are_bounded_together(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_responses, "TENANT_LIMIT", Amount(2, 600))
    answer = await cluster.http.post(CHAT, json={**BODY, "stream": True}, headers=KEYED)
    assert answer.status_code == 200
    error = json.loads(answer.text.split("data: ")[-1])["error"]
    assert error["code"] == "overloaded"
    assert (await cluster.http.post(CHAT, json=BODY, headers=KEYED)).status_code == 200


async def test_too_many_open_requests_with_a_key_are_refused(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded_responses, "TENANT_LIMIT", Amount(1, 1_000_000))
    cluster.router.holding = True
    first = asyncio.create_task(cluster.http.post(CHAT, json=BODY, headers=KEYED))
    await wait_until(lambda: cluster.router.submits, description="the request is queued")
    second = await cluster.http.post(CHAT, json=BODY, headers={"idempotency-key": "2"})
    assert (second.status_code, second.json()["error"]["code"]) == (503, "overloaded")
    cluster.router.grant(cluster.router.submits[0])
    assert (await first).status_code == 200


async def test_bad_keys(cluster: Cluster) -> None:
    for key in ("", "k" * 300):
        answer = await cluster.http.post(CHAT, json=BODY, headers={"idempotency-key": key})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "idempotency-key")
    unauthorised = {"authorization": "Bearer wrong", **KEYED}
    await cluster.http.post(CHAT, json=BODY, headers=KEYED)
    assert (await cluster.http.post(CHAT, json=BODY, headers=unauthorised)).status_code == 401
    admin = {"authorization": f"Bearer {ADMIN_KEY}", **KEYED}
    assert (await cluster.http.post(CHAT, json=BODY, headers=admin)).status_code == 200
