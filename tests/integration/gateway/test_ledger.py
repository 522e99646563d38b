"""One row for every accepted request, even if the gateway or the database fails."""

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine

from services.gateway.app import GatewayApp
from tests.integration.gateway.conftest import ADMIN_KEY, KEY, SERVER_SECRET, Cluster, Started, settings
from tests.support.fakes import MODEL, VERSION, FakeRouter, word
from tests.support.postgres import Postgres
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

ROOT = Path(__file__).parents[3]
ASK = {"model": MODEL, "messages": [{"role": "user", "content": "Count."}]}
ADMIN = {"authorization": f"Bearer {ADMIN_KEY}"}


async def rows(url: str) -> list[dict[str, Any]]:
    """Returns no rows while there is no table."""
    driver = "sqlite+aiosqlite" if url.startswith("sqlite") else "postgresql+psycopg"
    engine = create_async_engine(make_url(url).set(drivername=driver))
    query = "SELECT * FROM ledger ORDER BY accepted, request_id"
    try:
        async with engine.connect() as connection:
            return [dict(row) for row in (await connection.exec_driver_sql(query)).mappings()]
    except (OperationalError, ProgrammingError):
        return []
    finally:
        await engine.dispose()


@pytest.fixture
def url(data_dir: Path) -> str:
    return f"sqlite:///{data_dir / 'gateway.sqlite3'}"


async def written(url: str, number: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []

    async def enough() -> bool:
        nonlocal found
        found = await rows(url)
        return len(found) >= number

    await wait_until(enough, description=f"{number} rows are written", timeout=60)
    return found


async def test_a_row_has_the_request_and_its_result(cluster: Cluster, url: str) -> None:
    answer = await cluster.http.post("/v1/chat/completions", json={**ASK, "service_tier": "flex"})
    stub = inference_pb2_grpc.InferenceServiceStub(cluster.channel)
    request = inference_pb2.CompleteRequest(model=MODEL, prompt="Count.")
    call = stub.Complete(request, metadata=(("authorization", f"Bearer {KEY}"),))
    (over_grpc,) = {message.id async for message in call}
    first, second = await written(url, 2)
    assert first["ttft_ms"] <= first["duration_ms"]
    known = {
        "request_id": answer.json()["id"],
        "tenant": "default",
        "key_id": "settings-api-key",
        "model": MODEL,
        "version": VERSION,
        "tier_asked": "flex",
        "tier": "flex",
        "outcome": "completed",
        "prompt_tokens": 11,
        "cached_tokens": 4,
        "completion_tokens": 5,
        "queue_wait_ms": 3,
    }
    assert known.items() <= first.items()
    assert (second["request_id"], second["tier_asked"], second["tier"]) == (over_grpc, "auto", "default")


async def test_every_outcome_has_a_row_and_refused_requests_have_none(cluster: Cluster, url: str) -> None:
    cluster.router.reject = router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL)
    assert (await cluster.http.post("/v1/chat/completions", json=ASK)).status_code == 429
    cluster.router.reject = None
    cluster.worker.behaviour.refuse = worker_pb2.FAILURE_KIND_INVALID
    assert (await cluster.http.post("/v1/chat/completions", json=ASK)).status_code == 400
    cluster.worker.behaviour.refuse = None
    cluster.worker.behaviour.hang_after = 2
    async with cluster.http.stream("POST", "/v1/chat/completions", json={**ASK, "stream": True}) as leaving:
        async for line in leaving.aiter_lines():
            if word(0, 1) in line:
                break
    cluster.router.holding = True
    with pytest.raises(httpx.ReadTimeout):
        await cluster.http.post("/v1/chat/completions", json=ASK, timeout=2)
    found = await written(url, 3)
    assert [row["outcome"] for row in found] == ["failed", "cancelled", "cancelled"]
    assert found[1]["completion_tokens"] == 2
    assert (found[2]["version"], found[2]["ttft_ms"]) == ("", None)


async def test_usage_is_seen_by_its_own_tenant_and_by_admins(cluster: Cluster, url: str) -> None:
    for _ in range(3):
        await cluster.http.post("/v1/chat/completions", json=ASK)
    await written(url, 3)
    by = {"by": "tenant,model,version,tier,day"}
    own = (await cluster.http.get("/v1/usage", params=by)).json()
    assert own == (await cluster.http.get("/v1/usage", params=by, headers=ADMIN)).json()
    (line,) = own["data"]
    assert {"tenant": "default", "model": MODEL, "version": VERSION, "tier": "default"}.items() <= line.items()
    assert (line["requests"], line["prompt_tokens"], line["cached_tokens"], line["completion_tokens"]) == (
        3,
        33,
        12,
        15,
    )
    other = await cluster.http.get("/v1/usage", params={"tenant": "acme"})
    assert other.status_code == 403
    assert (await cluster.http.get("/v1/usage", params={"tenant": "acme"}, headers=ADMIN)).json()["data"] == []


@pytest.mark.parametrize(
    "wrong", [{"by": ""}, {"by": "model,model"}, {"by": "secret"}, {"since": "1.1.2026"}, {"until": "0001-01-01"}]
)
async def test_wrong_usage_queries_are_refused(cluster: Cluster, wrong: dict[str, str]) -> None:
    refused = await cluster.http.get("/v1/usage", params=wrong)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] in ("by", "since", "until")


async def test_a_database_that_stops_under_load_costs_no_request(
    start: Started, router: FakeRouter, postgres: Postgres
) -> None:
    """There is a row for each request, and the sums are those that clients counted."""
    url = postgres.new_database()
    gateway: GatewayApp = await start(GatewayApp(settings(router.address, database_url=url), random=Random(1)))
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", headers=ADMIN, timeout=20) as client:
        made: dict[str, Any] = {}

        async def key_is_made() -> bool:
            made.update((await client.post("/v1/admin/keys", json={"name": "load"})).json())
            return "key" in made

        await wait_until(key_is_made, description="the database is there")
        load = Load(client, made["key"])
        running = [asyncio.create_task(load.ask()) for _ in range(8)]
        await wait_until(lambda: len(load.usages) > 20, description="requests are answered")
        await asyncio.to_thread(postgres.stop)
        try:
            before = len(load.usages)
            await wait_until(
                lambda: len(load.usages) > before + 300, description="and without the database", timeout=60
            )
        finally:
            await asyncio.to_thread(postgres.start)
        load.stopped = True
        await asyncio.gather(*running)
    assert set(load.statuses) == {200}
    found = await written(url, len(load.usages))
    assert {row["request_id"] for row in found} == set(load.usages)
    for name in ("prompt_tokens", "completion_tokens"):
        assert sum(row[name] for row in found) == sum(usage[name] for usage in load.usages.values())


class Load:
    """Sends requests with one key, one after another, and counts tokens as a client does."""

    def __init__(self, client: httpx.AsyncClient, key: str) -> None:
        self._client, self._headers = client, {"authorization": f"Bearer {key}"}
        self.usages: dict[str, dict[str, int]] = {}
        self.statuses: list[int] = []
        self.stopped = False

    async def ask(self) -> None:
        while not self.stopped:
            answer = await self._client.post("/v1/chat/completions", json=ASK, headers=self._headers)
            self.statuses.append(answer.status_code)
            if answer.status_code == 200:
                self.usages[answer.json()["id"]] = answer.json()["usage"]


async def test_a_killed_gateway_leaves_a_row_for_every_request(
    start: Started, router: FakeRouter, data_dir: Path, tmp_path: Path, url: str
) -> None:
    """Its database is away, so all rows are on disk when kill -9 comes. Another gateway takes them over."""
    http = f"127.0.0.1:{_free_port()}"
    config = tmp_path / "tidegate.yaml"
    config.write_text("pools: [{name: m, model: m}]\n")
    environ = {
        **os.environ,
        "TIDEGATE_CONFIG": str(config),
        "TIDEGATE_LISTEN": "127.0.0.1:0",
        "TIDEGATE_HTTP_LISTEN": http,
        "TIDEGATE_ROUTERS": router.address,
        "TIDEGATE_API_KEY": KEY,
        "TIDEGATE_ADMIN_KEY": ADMIN_KEY,
        "TIDEGATE_SERVER_SECRET": SERVER_SECRET,
        "TIDEGATE_DATA_DIR": str(data_dir),
        "TIDEGATE_DATABASE_URL": "postgresql://nobody@127.0.0.1:9/nowhere",
    }
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "services.gateway", env=environ, cwd=ROOT)
    try:
        key = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=f"http://{http}", headers=key, timeout=20) as client:
            await wait_until(lambda: _ready(client), description="the gateway is ready", timeout=60)
            answered = [(await client.post("/v1/chat/completions", json=ASK)).json()["id"] for _ in range(5)]
            router.holding = True
            waiting = asyncio.create_task(client.post("/v1/chat/completions", json=ASK))
            await wait_until(lambda: len(router.submits) == 6, description="the last one waits")
            await wait_until(lambda: _lines(data_dir) == 11, description="it is on disk")
            process.send_signal(signal.SIGKILL)
            with pytest.raises(httpx.TransportError):
                await waiting
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
    await start(GatewayApp(settings("127.0.0.1:9"), random=Random(2)))
    found = await written(url, 6)
    ends = {row["request_id"]: (row["outcome"], row["completion_tokens"]) for row in found}
    assert ends == {**dict.fromkeys(answered, ("completed", 5)), router.submits[5].request_id: ("lost", 0)}


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/readyz")).status_code == 200
    except httpx.TransportError:
        return False


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def _lines(data_dir: Path) -> int:
    return sum(file.read_bytes().count(b"\n") for file in data_dir.glob("ledger/*/*.jsonl"))
