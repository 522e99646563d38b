"""Keys and usage from the command line, and the ledger when PostgreSQL stops under load."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, OpenAI, RateLimitError

from services.gateway.app import GatewayApp
from services.gateway.settings import GatewaySettings
from services.shared import settings
from tests.support.cluster import REPOSITORY, RunningCluster, tidegate
from tests.support.postgres import Postgres
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

QUESTION: list[Any] = [{"role": "user", "content": "Where does the tide go?"}]
ADMIN_KEY = "the-admin-key-of-the-other-gateway"


def ask(cluster: RunningCluster, key: str) -> Any:
    """The answer, and its headers."""
    with OpenAI(base_url=cluster.rest, api_key=key, max_retries=0) as client:
        raw = client.chat.completions.with_raw_response
        answer = raw.create(model="tide", messages=QUESTION, max_tokens=5)
    return answer.parse(), answer.headers


def models(cluster: RunningCluster, key: str) -> int:
    """The status of a request that no limit counts."""
    return httpx.get(f"{cluster.rest}/models", headers={"authorization": f"Bearer {key}"}).status_code


def command(cluster: RunningCluster, *arguments: str) -> Any:
    done = tidegate(cluster.folder, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_operators_day(simulated: RunningCluster) -> None:
    command(simulated, "keys", "tenant", "acme", "--weight", "2", "--tier", "default")
    made = tidegate(simulated.folder, "keys", "create", "laptop", "--tenant", "acme", "--requests-per-minute", "2")
    assert made.returncode == 0, made.stderr
    key = made.stdout.strip()
    answer, headers = ask(simulated, key)
    assert (headers["x-ratelimit-limit-requests"], headers["x-ratelimit-remaining-requests"]) == ("2", "1")
    ask(simulated, key)
    with pytest.raises(RateLimitError) as refused:
        ask(simulated, key)
    assert int(refused.value.response.headers["retry-after"]) > 0
    (listed,) = command(simulated, "keys", "list", "--tenant", "acme")
    assert (listed["name"], listed["requests_per_minute"]) == ("laptop", 2)
    assert key not in json.dumps(listed)
    rotated = command(simulated, "keys", "rotate", listed["id"])["key"]
    assert (models(simulated, key), models(simulated, rotated)) == (401, 200)
    report = _usage_of(simulated, "acme", requests=2)
    assert report["total"]["prompt_tokens"] == 2 * answer.usage.prompt_tokens
    assert report["total"]["completion_tokens"] == 2 * answer.usage.completion_tokens
    assert "acme" in tidegate(simulated.folder, "usage", "--by", "tenant,model,day").stdout
    command(simulated, "keys", "revoke", listed["id"])
    assert models(simulated, rotated) == 401
    logs = "".join(file.read_text() for file in (simulated.folder / ".tidegate/logs").iterdir())
    assert not [secret for secret in (key, rotated, simulated.key) if secret in logs]


def _usage_of(cluster: RunningCluster, tenant: str, requests: int) -> Any:
    for _ in range(50):
        report = command(cluster, "usage", "--tenant", tenant)
        if report["total"]["requests"] >= requests:
            return report
        time.sleep(0.1)
    raise AssertionError(f"usage never showed {requests} requests")


@pytest.fixture
async def gateway(simulated: RunningCluster, postgres: Postgres, tmp_path: Path) -> AsyncIterator[GatewayApp]:
    """One more gateway of the cluster, with its books in PostgreSQL."""
    told = {
        "config": REPOSITORY / "tidegate.yaml",
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "routers": ",".join(
            process["address"] for process in simulated.status()["processes"] if process["name"].startswith("router")
        ),
        "api_key": "the-api-key-of-the-other-gateway",
        "admin_key": ADMIN_KEY,
        "server_secret": "the-secret-of-the-other-gateway-alone",
        "data_dir": tmp_path,
        "database_url": postgres.new_database(),
    }
    app = GatewayApp(settings.check(GatewaySettings, told), random=Random(1))
    await app.start()
    await wait_until(lambda: app.ready() is None, description="the gateway is ready")
    yield app
    await app.stop()


async def test_postgres_stops_for_seconds_under_load(gateway: GatewayApp, postgres: Postgres) -> None:
    """No request fails; then rows are as many as requests, and their sums are what clients counted."""
    admin = httpx.AsyncClient(
        base_url=f"http://{gateway.http_address}/v1", headers={"authorization": f"Bearer {ADMIN_KEY}"}, timeout=20
    )
    async with admin:
        load = Load(f"http://{gateway.http_address}/v1", await _new_key(admin))
        async with asyncio.TaskGroup() as asking:
            for number in range(8):
                asking.create_task(load.ask(stream=number % 2 == 0))
            await wait_until(lambda: len(load.usages) > 20, description="requests are answered", timeout=60)
            await _without(postgres, load)
            load.stopped = True

        async def all_counted() -> bool:
            answer = await admin.get("usage", params={"by": "key"})
            return answer.status_code == 200 and answer.json()["total"]["requests"] >= len(load.usages)

        await wait_until(all_counted, description="every request is in the ledger", timeout=60)
        total = (await admin.get("usage", params={"by": "key"})).json()["total"]
    assert total["requests"] == len(load.usages)
    for name in ("prompt_tokens", "completion_tokens"):
        assert total[name] == sum(getattr(usage, name) for usage in load.usages)


async def _without(postgres: Postgres, load: "Load") -> None:
    """Seconds in which requests go on being answered and no database is there."""
    await asyncio.to_thread(postgres.stop)
    try:
        before, stopped = len(load.usages), time.monotonic()
        await wait_until(lambda: time.monotonic() > stopped + 6, description="six seconds have passed")
        assert len(load.usages) > before + 20
    finally:
        await asyncio.to_thread(postgres.start)


async def _new_key(admin: httpx.AsyncClient) -> str:
    answer: dict[str, Any] = {}

    async def made() -> bool:
        answer.update((await admin.post("admin/keys", json={"name": "load"})).json())
        return "key" in answer

    await wait_until(made, description="the database is there")
    return str(answer["key"])


class Load:
    """Asks again and again with one key, and counts as a client does. Whatever fails, fails the test."""

    def __init__(self, base_url: str, key: str) -> None:
        self._base_url, self._key = base_url, key
        self.usages: list[Any] = []
        self.stopped = False

    async def ask(self, *, stream: bool) -> None:
        async with AsyncOpenAI(base_url=self._base_url, api_key=self._key, max_retries=0) as client:
            while not self.stopped:
                self.usages.append(await (self._streamed(client) if stream else self._whole(client)))

    async def _whole(self, client: AsyncOpenAI) -> Any:
        answer = await client.chat.completions.create(model="tide", messages=QUESTION, max_tokens=20)
        return answer.usage

    async def _streamed(self, client: AsyncOpenAI) -> Any:
        chunks = await client.chat.completions.create(
            model="tide", messages=QUESTION, max_tokens=20, stream=True, stream_options={"include_usage": True}
        )
        return [chunk.usage async for chunk in chunks][-1]
