"""Probes, metrics, the OpenAPI document, and the process itself."""

import asyncio
import json
import os
import re
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from random import Random
from socket import IPPROTO_TCP, TCP_NODELAY

import httpx
import pytest

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, SERVER_SECRET, Cluster, Started, settings
from tests.support.fakes import MODEL, VERSION, FakeRouter
from tests.support.wait import wait_until

ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
ROOT = Path(__file__).parents[3]


async def test_probes_need_no_key_and_metrics_count(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        assert (await stranger.get("/livez")).text == "ok"
        assert (await stranger.get("/readyz")).text == "ok"
        answer = await cluster.http.post("/v1/chat/completions", json=ASK)
        assert answer.headers["x-tidegate-model-version"] == VERSION
        await cluster.http.post("/v1/chat/completions", json={**ASK, "model": "made-up-by-a-client"})
        metrics = (await stranger.get("/metrics")).text
    assert f'llm_requests_total{{model="{MODEL}",status="200"}} 1.0' in metrics
    assert 'llm_requests_total{model="unknown",status="404"} 1.0' in metrics
    assert f'llm_tokens_generated_total{{model="{MODEL}"}} 5.0' in metrics
    assert "tidegate_gateway_open_requests 0.0" in metrics
    assert "made-up-by-a-client" not in metrics


@pytest.mark.parametrize(("method", "path"), [("GET", "/health"), ("GET", "/ping"), ("POST", "/ping")])
async def test_health_as_vllm_has_it(start: Started, router: FakeRouter, method: str, path: str) -> None:
    gateway = GatewayApp(settings(router.address), random=Random(1))
    await start(gateway)
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}") as stranger:
        await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
        assert (await stranger.request(method, path)).status_code == 200
        gateway._draining = True
        assert (await stranger.request(method, path)).status_code == 503


async def test_the_version_needs_no_key(cluster: Cluster) -> None:
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        assert (await stranger.get("/version")).json() == {"version": version("tidegate")}


async def test_open_paths_are_documented_as_such(cluster: Cluster) -> None:
    document = (await cluster.http.get("/openapi.json")).json()
    paths = document["paths"]
    assert {"/livez", "/readyz", "/health", "/ping", "/version", "/load", "/v2"} <= set(paths)
    assert set(paths["/ping"]) == {"get", "post"}
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        for path, operations in paths.items():
            if "get" in operations and "{" not in path and path not in ("/metrics", "/load"):
                status = (await stranger.get(path)).status_code
                assert (status != 401) == (operations["get"].get("security") == []), path
    assert document["security"] == [{"key": []}, {"x-api-key": []}, {"api-key": []}]
    assert {name for keys in document["security"] for name in keys} == set(document["components"]["securitySchemes"])


async def test_metrics_can_have_a_port_of_their_own(start: Started, router: FakeRouter) -> None:
    gateway = await start(GatewayApp(settings(router.address, metrics_listen="127.0.0.1:0"), random=Random(1)))
    async with httpx.AsyncClient(base_url=f"http://{gateway.metrics_address}") as prometheus:
        assert "tidegate_gateway_open_requests 0.0" in (await prometheus.get("/metrics")).text
        assert (await prometheus.get("/v1/models")).status_code == 404


async def test_openapi_documents_what_is_validated(cluster: Cluster) -> None:
    document = (await cluster.http.get("/openapi.json")).json()
    body = document["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    model = document["components"]["schemas"][body["$ref"].rpartition("/")[2]]
    assert {"messages", "max_completion_tokens", "service_tier"} <= set(model["properties"])


async def test_openapi_names_the_events_of_what_can_be_streamed(cluster: Cluster) -> None:
    paths = (await cluster.http.get("/openapi.json")).json()["paths"]
    for path in ("/v1/chat/completions", "/v1/completions", "/v1/responses"):
        assert set(paths[path]["post"]["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert set(paths["/v1/tokenize"]["post"]["responses"]["200"]["content"]) == {"application/json"}


async def test_openapi_is_whole_and_its_examples_are_valid(cluster: Cluster) -> None:
    text = (await cluster.http.get("/openapi.json")).text
    document = json.loads(text)
    referred = {name.rpartition("/")[2] for name in re.findall(r'"\$ref":"#/components/schemas/([^"]+)"', text)}
    assert referred <= set(document["components"]["schemas"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert "422" not in operation["responses"]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
            example = content.get("example")
            if example:
                headers = {"authorization": f"Bearer {ADMIN_KEY}"}
                answer = await cluster.http.post(path, json=example, headers=headers)
                assert answer.status_code in (200, 201, 400, 404, 501, 503), answer.text
                if answer.is_error:
                    known = ("model_not_found", "not_configured", "not_found", "accounts_unavailable")
                    if path.startswith("/v1/messages"):
                        assert answer.json()["error"]["type"] == "not_found_error", answer.text
                    else:
                        assert answer.json()["error"]["code"] in known, answer.text
            if "requestBody" in operation and "multipart/form-data" not in operation["requestBody"]["content"]:
                assert example, f"{path} has no example"


async def test_responses_do_not_wait_for_tcp_acknowledgements(cluster: Cluster) -> None:
    """Head and body are two writes: with Nagle's algorithm each answer would take 40 ms."""
    await cluster.http.get("/livez")
    connections = cluster.gateway._http._server.server_state.connections
    sockets = [connection.transport.get_extra_info("socket") for connection in connections]
    assert [socket.getsockopt(IPPROTO_TCP, TCP_NODELAY) for socket in sockets] == [1]


async def test_process_starts_and_stops_on_sigterm(tmp_path: Path) -> None:
    config = tmp_path / "tidegate.yaml"
    config.write_text("pools: [{name: m, model: m}]\n")
    environ = {
        **os.environ,
        "TIDEGATE_CONFIG": str(config),
        "TIDEGATE_LISTEN": "127.0.0.1:0",
        "TIDEGATE_HTTP_LISTEN": "127.0.0.1:0",
        "TIDEGATE_ROUTERS": "127.0.0.1:9",
        "TIDEGATE_API_KEY": KEY,
        "TIDEGATE_ADMIN_KEY": ADMIN_KEY,
        "TIDEGATE_SERVER_SECRET": SERVER_SECRET,
        "TIDEGATE_DATA_DIR": str(tmp_path / "gateway"),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.gateway", env=environ, cwd=ROOT, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr
    started = await process.stderr.readuntil(b"no stream to router")
    process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 20) == 0
    log = await process.stderr.read()
    assert b"Traceback" not in log
    assert KEY.encode() not in started + log
