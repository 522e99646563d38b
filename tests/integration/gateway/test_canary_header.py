"""Who may ask for the version that is on trial, over REST and gRPC; all others are served as if they had not asked."""

from pathlib import Path
from random import Random

import httpx
import pytest

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, FakeRouter
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc

CANARY = {"x-tidegate-canary": "true"}
IGNORED = "x-tidegate-ignored"
BODIES = (
    ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Count."}]}),
    ("/v1/completions", {"prompt": ["a", "b"]}),
    ("/v1/responses", {"input": "a"}),
    ("/v1/messages", {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 5}),
)


async def test_a_tenant_that_may_not_ask_is_told_so(cluster: Cluster) -> None:
    for path, body in BODIES:
        answer = await cluster.http.post(path, json={"model": MODEL, **body}, headers=CANARY)
        assert (answer.status_code, answer.headers[IGNORED]) == (200, "x-tidegate-canary")
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    request = inference_pb2.ChatRequest(model=MODEL, messages=[inference_pb2.Message(role="user", content="Count.")])
    call = stub.Chat(request, metadata=(("authorization", f"Bearer {KEY}"), *CANARY.items()))
    assert dict(await call.initial_metadata())[IGNORED] == "x-tidegate-canary"
    async for _ in call:
        pass
    assert not any(submit.canary for submit in cluster.router.submits)


@pytest.mark.parametrize("value", ["true", "false"])
async def test_a_tenant_that_may_ask_says_so_to_the_router(
    value: str, start: Started, router: FakeRouter, tmp_path: Path
) -> None:
    config = tmp_path / "canary.yaml"
    config.write_text(f"pools: [{{name: {MODEL}, model: m, rollout: {{canary_tenants: [default]}}}}]\n")
    made: GatewayApp = await start(GatewayApp(settings(router.address, config=config), random=Random(1)))
    await wait_until(lambda: made.ready() is None, description="the gateway is ready")
    headers = {"authorization": f"Bearer {KEY}", "x-tidegate-canary": value}
    async with httpx.AsyncClient(base_url=f"http://{made.http_address}", headers=headers, timeout=20) as client:
        for path, body in BODIES:
            answer = await client.post(path, json={"model": MODEL, **body})
            assert answer.status_code == 200, answer.text
            assert IGNORED not in answer.headers
    assert len(router.submits) == len(BODIES) + 1
    assert {submit.canary for submit in router.submits} == {value == "true"}
