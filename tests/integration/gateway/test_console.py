"""The console's files as any browser gets them, and the document behind its cluster page."""

import asyncio
import socket
from http.client import HTTPConnection
from pathlib import Path
from random import Random
from typing import Any

import grpc
import httpx
import pytest

from services.gateway.app import GatewayApp
from services.gateway.http.routes.console import PAGES, STATIC, TYPES
from services.gateway.rollouts.event import RolloutEvent
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, VERSION, FakeRouter, FakeWorker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1 import router_pb2_grpc

FILES = {path.name: path.read_bytes() for path in STATIC.iterdir()}
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


class ControlledRouter(FakeRouter, router_pb2_grpc.ControlServiceServicer):
    """A router with a control service, whose one pool has one worker."""

    def __init__(self, *workers: FakeWorker) -> None:
        super().__init__(*workers)
        self.rollout: pb.Rollout | None = None
        self.asked = 0
        router_pb2_grpc.add_ControlServiceServicer_to_server(self, self._server)

    async def ListPools(self, request: pb.ListPoolsRequest, context: Any) -> pb.ListPoolsResponse:  # noqa: N802
        self.asked += 1
        batch = pb.ClassStatus(service_class=pb.SERVICE_CLASS_BATCH, queued=40, expected_wait_ms=9000)
        first = pb.ClassStatus(
            service_class=pb.SERVICE_CLASS_PRIORITY, queued=3, running=2, policy=pb.ClassPolicy(max_queued=100)
        )
        pool = pb.Pool(name=MODEL, context_tokens=4096, model_versions=[VERSION], ready_workers=1)
        status = pb.PoolStatus(pool=pool, classes=[batch, first], granted=2, model="tiny@latest", placement="prefix")
        return pb.ListPoolsResponse(pools=[status])

    async def ListWorkers(self, request: pb.ListWorkersRequest, context: Any) -> pb.ListWorkersResponse:  # noqa: N802
        beat = pb.Heartbeat(
            worker_id="worker-1",
            pool=MODEL,
            address="10.0.0.1:8081",
            state=pb.WORKER_STATE_SWAPPING,
            model_version=VERSION,
            capacity=pb.Capacity(slots=8, kv_tokens=1000),
            load=pb.Load(running=1, kv_tokens_used=250, tokens_per_second=12.5),
            loaded_adapters=["support-de", "legal"],
            loaded_adapter_versions=["v1", "v2"],
        )
        return pb.ListWorkersResponse(workers=[pb.WorkerStatus(heartbeat=beat, granted=2, heartbeat_age_ms=321)])

    async def GetRollout(self, request: pb.GetRolloutRequest, context: Any) -> pb.GetRolloutResponse:  # noqa: N802
        if self.rollout is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there was none")
        return pb.GetRolloutResponse(rollout=self.rollout)


@pytest.fixture
async def router(start: Started, worker: FakeWorker) -> ControlledRouter:
    started: ControlledRouter = await start(ControlledRouter(worker))  # type: ignore[abstract]  # what is missing is not asked for
    return started


@pytest.fixture
def controlled(cluster: Cluster) -> ControlledRouter:
    assert isinstance(cluster.router, ControlledRouter)
    return cluster.router


async def seen(cluster: Cluster) -> dict[str, Any]:
    answer = await cluster.http.get("/v1/admin/cluster", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return dict(answer.json())


async def test_files_come_without_a_key_and_with_strict_headers(cluster: Cluster) -> None:
    pages = {name: path for path, name in PAGES.items()}
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        for name, body in FILES.items():
            await check_file(stranger, pages.get(name, f"/console/{name}"), name, body)


async def check_file(stranger: httpx.AsyncClient, path: str, name: str, body: bytes) -> None:
    got = await stranger.get(path)
    assert (got.status_code, got.content) == (200, body), path
    assert got.headers["content-type"] == TYPES[Path(name).suffix]
    assert got.headers["x-content-type-options"] == "nosniff"
    assert got.headers["x-frame-options"] == "DENY"
    policy = got.headers["content-security-policy"].split("; ")
    assert {"default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert not [rule for rule in policy if "unsafe" in rule or "http" in rule or "*" in rule]
    known = await stranger.get(path, headers={"if-none-match": got.headers["etag"]})
    assert (known.status_code, known.content) == (304, b"")
    asked = await stranger.head(path)
    assert (asked.status_code, asked.content, asked.headers["etag"]) == (200, b"", got.headers["etag"])


OUTSIDE = (
    "/console/../../../app.py",
    "/console/..%2f..%2fapp.py",
    "/console/%2e%2e/files.py",
    "/console//etc/passwd",
    "/console/..\\files.py",
    "/console/main.js%00.html",
    "/console/",
    "/console/index.html",
    "/console/docs.html",
    "//console/main.js",
)


async def test_no_path_leads_out_of_the_folder(cluster: Cluster) -> None:
    for path in OUTSIDE:
        for key, expected in (("", 401), (KEY, 404)):
            status, body = await asyncio.to_thread(raw_get, cluster.gateway.http_address, path, key)
            assert (status, body[:9]) == (expected, b'{"error":'), path


def raw_get(address: str, path: str, key: str) -> tuple[int, bytes]:
    """As it stands: httpx would tidy the path up."""
    connection = HTTPConnection(address, timeout=10)
    try:
        connection.request("GET", path, headers={"authorization": f"Bearer {key}"} if key else {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


async def test_only_reading_is_open(cluster: Cluster) -> None:
    for method in ("POST", "PUT", "DELETE"):
        assert (await cluster.http.request(method, "/console/main.js")).status_code == 405


async def test_the_cluster_is_for_admin_keys_only(cluster: Cluster, controlled: ControlledRouter) -> None:
    refused = await cluster.http.get("/v1/admin/cluster")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        assert (await stranger.get("/v1/admin/cluster")).status_code == 401
    assert controlled.asked == 0


async def test_the_load_is_what_runs_and_what_waits(cluster: Cluster, controlled: ControlledRouter) -> None:
    cluster.worker.behaviour.hang_after = 0
    async with httpx.AsyncClient(base_url=cluster.http.base_url) as stranger:
        load = {"server_load": 0, "running": 2, "queued": 43}
        assert (await stranger.get("/load")).json() == load
        ask = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
        hanging = asyncio.create_task(cluster.http.post("/v1/chat/completions", json=ask))

        async def counted() -> bool:
            return bool((await stranger.get("/load")).json() == {**load, "server_load": 1})

        await wait_until(counted, description="the gateway holds a request", every=0.1)
        hanging.cancel()


async def test_the_cluster_as_one_document(cluster: Cluster, controlled: ControlledRouter) -> None:
    document = await seen(cluster)
    (pool,) = document["pools"]
    assert (pool["name"], pool["model"], pool["placement"], pool["rollout"]) == (MODEL, "tiny@latest", "prefix", None)
    assert [(row["tier"], row["queued"], row["running"], row["max_queued"]) for row in pool["classes"]] == [
        ("priority", 3, 2, 100),
        ("batch", 40, 0, 0),
    ]
    (worker,) = pool["workers"]
    expected = {
        "id": "worker-1",
        "state": "swapping",
        "version": VERSION,
        "running": 2,
        "slots": 8,
        "kv_tokens_used": 250,
        "kv_tokens": 1000,
        "tokens_per_second": 12.5,
        "heartbeat_age_ms": 321,
        "loaded_adapters": [{"name": "legal", "version": "v2"}, {"name": "support-de", "version": "v1"}],
    }
    assert expected.items() <= worker.items()


async def test_a_rollout_is_shown_worker_by_worker(cluster: Cluster, controlled: ControlledRouter) -> None:
    delivery = pb.Delivery(delivery_id="1", model_version="v2", phase=pb.DELIVERY_PHASE_STAGING)
    asked = pb.RolloutWorker(worker_id="worker-1", state=pb.WORKER_STATE_READY, delivery=delivery)
    idle = pb.RolloutWorker(worker_id="worker-2", state=pb.WORKER_STATE_READY)
    controlled.rollout = pb.Rollout(model_version="v2", state=pb.ROLLOUT_STATE_ROLLING, workers=[asked, idle])
    rollout = (await seen(cluster))["pools"][0]["rollout"]
    assert (rollout["state"], rollout["version"]) == ("rolling", "v2")
    assert [(worker["id"], worker["phase"]) for worker in rollout["workers"]] == [
        ("worker-1", "staging"),
        ("worker-2", None),
    ]


async def test_a_rollout_says_where_it_is_who_wants_it_and_what_its_gate_sees(
    cluster: Cluster, controlled: ControlledRouter
) -> None:
    figure = pb.GateFigure(
        service_class=pb.SERVICE_CLASS_BATCH, figure="ttft", old_value=0.5, old_requests=7, new_requests=0, worse=True
    )
    controlled.rollout = pb.Rollout(
        policy=pb.ROLLOUT_POLICY_CANARY,
        mode=pb.SWAP_MODE_HAND_OVER,
        step=pb.RolloutStep(number=2, count=3, workers=4, hold_left_ms=1500),
        state=pb.ROLLOUT_STATE_ROLLING,
        paused_by="bob: lunch",
        admitted_version="v1",
        who="ann",
        why="better",
        gate=pb.GateVerdict(decision=pb.GATE_DECISION_WAIT, reason="few requests", figures=[figure]),
    )
    rollout = (await seen(cluster))["pools"][0]["rollout"]
    expected = {
        "policy": "canary",
        "mode": "hand_over",
        "step": {"number": 2, "count": 3, "workers": 4, "hold_left_ms": 1500},
        "paused_by": "bob: lunch",
        "admitted_version": "v1",
        "who": "ann",
        "why": "better",
    }
    assert expected.items() <= rollout.items()
    assert (rollout["gate"]["decision"], rollout["gate"]["reason"]) == ("wait", "few requests")
    (shown,) = rollout["gate"]["figures"]
    assert (shown["tier"], shown["old"], shown["new"], shown["worse"]) == ("batch", 0.5, None, True)


async def test_the_history_of_rollouts_is_read_from_the_database(cluster: Cluster) -> None:
    events = [RolloutEvent("tide", "r1", n, float(n), "paused", "v2", "v1", "canary", 1, "ann", "") for n in (1, 2, 3)]
    await cluster.gateway.accounting.rollouts.add(events)
    answer = await cluster.http.get("/v1/admin/rollouts", params={"pool": "tide", "limit": 2}, headers=ADMIN)
    document = answer.json()
    assert ([event["revision"] for event in document["data"]], document["has_more"]) == ([3, 2], True)
    assert {"object": "rollout.event", "event": "paused", "who": "ann"}.items() <= document["data"][0].items()
    assert (await cluster.http.get("/v1/admin/rollouts?pool=other", headers=ADMIN)).json()["data"] == []
    assert (await cluster.http.get("/v1/admin/rollouts?limit=0", headers=ADMIN)).status_code == 400
    assert (await cluster.http.get("/v1/admin/rollouts")).status_code == 403


async def test_the_gateways_own_counts(cluster: Cluster) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
    assert (await cluster.http.post("/v1/chat/completions", json=body)).status_code == 200
    assert (await cluster.http.post("/v1/chat/completions", json={**body, "model": "nobody"})).status_code == 404
    gateway = (await seen(cluster))["gateway"]
    assert gateway["id"].startswith("gateway-")
    assert gateway["requests"] == {"200": 1, "404": 1}
    assert (gateway["tokens"], gateway["open_requests"]) == (5, 0)
    ttft = gateway["ttft"]
    assert (ttft["le"][0], ttft["le"][-1], ttft["counts"][-1]) == (0.01, None, 1)
    assert ttft["counts"] == sorted(ttft["counts"])


async def test_another_router_is_asked_when_one_is_gone(start: Started, controlled: ControlledRouter) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listening: nobody else gets it, and nobody answers
        gone = f"127.0.0.1:{taken.getsockname()[1]}"
        gateway: GatewayApp = await start(GatewayApp(settings(gone, controlled.address), random=Random(1)))
        async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", headers=ADMIN) as http:
            assert (await http.get("/v1/admin/cluster")).status_code == 200


async def test_no_router_at_all(cluster: Cluster) -> None:
    await cluster.router.stop()

    async def refused() -> bool:
        answer = await cluster.http.get("/v1/admin/cluster", headers=ADMIN)
        return (answer.status_code, answer.headers.get("retry-after")) == (503, "1")

    await wait_until(refused, description="the gateway says so")
