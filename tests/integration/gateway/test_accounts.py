"""Keys, rights, limits and budgets as clients meet them, over REST and gRPC."""

import logging
import re
from collections.abc import AsyncIterator
from random import Random
from typing import Any

import grpc
import httpx
import pytest

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, SERVER_SECRET, Cluster, Started, settings
from tests.support.fakes import MODEL
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.router.v1 import router_pb2

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
CHAT = inference_pb2.ChatRequest(model=MODEL, messages=[inference_pb2.Message(role="user", content="Count.")])
STATE = router_pb2.LimitState(
    name="key",
    requests_limit=60,
    requests_remaining=59,
    requests_reset_ms=1000,
    tokens_limit=1000,
    tokens_reset_ms=90_000,
)
LIMIT_HEADERS = {
    "x-ratelimit-limit-requests": "60",
    "x-ratelimit-remaining-requests": "59",
    "x-ratelimit-reset-requests": "1s",
    "x-ratelimit-limit-tokens": "1000",
    "x-ratelimit-remaining-tokens": "0",
    "x-ratelimit-reset-tokens": "1m30s",
}


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
async def admin(cluster: Cluster) -> AsyncIterator[httpx.AsyncClient]:
    base = f"{cluster.http.base_url}/v1/admin"
    async with httpx.AsyncClient(base_url=base, headers=bearer(ADMIN_KEY), timeout=20) as client:
        await _migrated(client)
        yield client


async def _migrated(client: httpx.AsyncClient) -> None:
    async def asked() -> bool:
        return (await client.get("keys")).status_code == 200

    await wait_until(asked, description="the database is there")


async def make(admin: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await admin.post("keys", json={"name": "test", **fields})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def chat(cluster: Cluster, key: str, **changes: Any) -> httpx.Response:
    return await cluster.http.post("/v1/chat/completions", json={**ASK, **changes}, headers=bearer(key))


async def grpc_chat(cluster: Cluster, key: str, request: inference_pb2.ChatRequest = CHAT) -> Any:
    call = inference_pb2_grpc.InferenceServiceStub(cluster.channel).Chat(
        request, metadata=(("authorization", f"Bearer {key}"),), timeout=20
    )
    return call, [message async for message in call]


async def test_the_life_of_a_key(cluster: Cluster, admin: httpx.AsyncClient) -> None:
    made = await make(admin, tenant="default", models=[MODEL], requests_per_minute=60, concurrency=5)
    secret = made.pop("key")
    assert secret.startswith(made["prefix"])
    assert (await admin.get(f"keys/{made['id']}")).json() == made
    assert (await admin.get("keys")).json()["data"] == [made]
    assert (await chat(cluster, secret)).status_code == 200
    await grpc_chat(cluster, secret)
    limits = [(limit.name, limit.requests_per_minute, limit.concurrency) for limit in cluster.router.submits[-1].limits]
    assert limits == [(f"key:{made['id']}", 60, 5)]
    rotated = (await admin.post(f"keys/{made['id']}/rotate", json={})).json()
    assert rotated["id"] == made["id"]
    assert (await chat(cluster, secret)).status_code == 401
    assert (await chat(cluster, rotated["key"])).status_code == 200
    revoked = (await admin.post(f"keys/{made['id']}/revoke")).json()
    assert revoked["revoked_at"]
    refused = await chat(cluster, rotated["key"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")


async def test_a_revoked_key_ends_on_every_gateway(cluster: Cluster, admin: httpx.AsyncClient, start: Started) -> None:
    other: GatewayApp = await start(GatewayApp(settings(cluster.router.address), random=Random(2)))
    await wait_until(lambda: other.ready() is None, description="the other gateway is ready")
    made = await make(admin)
    async with httpx.AsyncClient(base_url=f"http://{other.http_address}", headers=bearer(made["key"])) as client:

        async def is_answered_with(status: int) -> bool:
            return (await client.get("/v1/models")).status_code == status

        # A gateway is ready before its database is: until then it cannot know any key.
        await wait_until(lambda: is_answered_with(200), description="the other gateway knows the key")
        await admin.post(f"keys/{made['id']}/revoke")
        await wait_until(lambda: is_answered_with(401), description="the other gateway knows that the key is revoked")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "keys"),
        ("POST", "keys"),
        ("POST", "keys/x/revoke"),
        ("POST", "tenants"),
        ("GET", ""),
        ("PUT", "not/there"),
    ],
)
async def test_only_admin_keys_may_use_the_admin_api(cluster: Cluster, method: str, path: str) -> None:
    refused = await cluster.http.request(method, f"/v1/admin/{path}", json={"name": "mine", "role": "admin"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        assert (await stranger.request(method, f"/v1/admin/{path}")).status_code == 401


async def test_wrong_requests_name_their_fault(admin: httpx.AsyncClient) -> None:
    refused = await admin.post("keys", json={"name": "a", "tiers": ["gold"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "tiers[0]")


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "keys/key_0000000000000000", None),
        ("GET", "keys/%00", None),
        ("GET", "keys?tenant=%00", None),
        ("POST", "keys/'; DROP TABLE api_keys/revoke", None),
        ("POST", "keys/key_0000000000000000/rotate", {}),
        ("POST", "keys", {"name": "a", "tenant": "nobody"}),
    ],
)
async def test_unknown_keys_and_tenants(admin: httpx.AsyncClient, method: str, path: str, body: Any) -> None:
    answer = await admin.request(method, path, json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_the_admin_api_is_documented(cluster: Cluster) -> None:
    page = await cluster.http.get("/openapi.json")
    schemas = page.json()["components"]["schemas"]
    named = set(re.findall(r'"#/components/schemas/(\w+)"', page.text))
    assert {"NewKeyRequest", "RotateRequest", "TenantRequest"} <= named <= set(schemas)


async def test_models_that_a_key_may_not_use_do_not_exist_for_it(cluster: Cluster, admin: httpx.AsyncClient) -> None:
    key = (await make(admin, models=["other"]))["key"]
    refused = await chat(cluster, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
    assert (await cluster.http.get("/v1/models", headers=bearer(key))).json()["data"] == []
    assert (await cluster.http.get(f"/v1/models/{MODEL}", headers=bearer(key))).status_code == 404
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await grpc_chat(cluster, key)
    assert failed.value.code() is grpc.StatusCode.NOT_FOUND
    listed = await inference_pb2_grpc.InferenceServiceStub(cluster.channel).ListModels(
        inference_pb2.ListModelsRequest(), metadata=(("authorization", f"Bearer {key}"),)
    )
    assert not listed.models


async def test_tiers_weights_and_salts_come_from_the_tenant(cluster: Cluster, admin: httpx.AsyncClient) -> None:
    tenant = {"name": "acme", "weight": 2.5, "tiers": ["default", "flex"]}
    assert (await admin.post("tenants", json=tenant)).json() == {"object": "tenant", **tenant}
    key = (await make(admin, tenant="acme"))["key"]
    refused = await chat(cluster, key, service_tier="priority")
    assert (refused.status_code, refused.json()["error"]["param"]) == (403, "service_tier")
    assert (await chat(cluster, key, service_tier="flex")).json()["service_tier"] == "flex"
    assert (await chat(cluster, KEY, service_tier="priority")).json()["service_tier"] == "priority"
    submits, starts = cluster.router.submits, cluster.worker.starts
    assert [(submit.tenant, submit.weight) for submit in submits] == [("acme", 2.5), ("default", 1.0)]
    salts = [start.cache_salt for start in starts]
    assert len(set(salts)) == 2
    assert all(salts)


async def test_every_response_has_the_limit_headers(cluster: Cluster) -> None:
    cluster.router.limits = [STATE]
    for stream in (False, True):
        answer = await chat(cluster, KEY, stream=stream)
        assert LIMIT_HEADERS.items() <= answer.headers.items()
    call, _ = await grpc_chat(cluster, KEY)
    assert LIMIT_HEADERS.items() <= dict(await call.initial_metadata()).items()


async def test_over_the_limit(cluster: Cluster) -> None:
    cluster.router.limits = [STATE]
    cluster.router.reject = router_pb2.Reject(reason=router_pb2.REJECT_REASON_RATE_LIMITED, limit_name="key")
    refused = await chat(cluster, KEY)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "rate_limit_exceeded")
    assert refused.headers["retry-after"] == "2"
    assert LIMIT_HEADERS.items() <= refused.headers.items()
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await grpc_chat(cluster, KEY)
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    trailing = dict(failed.value.trailing_metadata())
    assert trailing["grpc-retry-pushback-ms"] == "1500"
    assert LIMIT_HEADERS.items() <= trailing.items()


async def test_a_budget_ends(cluster: Cluster, admin: httpx.AsyncClient) -> None:
    """An answer of the fake worker costs 16 tokens."""
    key = (await make(admin, budget_tokens=20, budget_period="month"))["key"]
    for _ in range(2):
        assert (await chat(cluster, key)).status_code == 200
    refused = await chat(cluster, key)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "insufficient_quota")
    assert int(refused.headers["retry-after"]) <= 31 * 86_400
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await grpc_chat(cluster, key)
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await cluster.http.get("/v1/models", headers=bearer(key))).status_code == 200


async def test_secrets_appear_nowhere(
    cluster: Cluster, admin: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "services")
    made = await make(admin)
    rotated = (await admin.post(f"keys/{made['id']}/rotate", json={})).json()
    answers = [
        await chat(cluster, made["key"]),
        await chat(cluster, rotated["key"], model="unknown"),
        await chat(cluster, "tg-" + "x" * 48),
        await admin.get("keys"),
        await admin.post(f"keys/{made['id']}/revoke"),
        await cluster.http.get("/metrics"),
    ]
    written = "".join(answer.text + str(answer.headers) for answer in answers) + str([vars(r) for r in caplog.records])
    assert "key rotated" in written
    for secret in (made["key"], rotated["key"], "x" * 48, SERVER_SECRET, ADMIN_KEY, KEY):
        assert secret not in written
