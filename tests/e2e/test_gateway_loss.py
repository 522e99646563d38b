"""A gateway is killed in the middle of a stream: its slot is free at once, and the client goes on at another one."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from loadtests.redis_server import free_port
from services.local.data_folder import DataFolder
from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.robustness.leak_checker import leaks
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CONFIG = """
pools:
  - {name: tide, model: simulated, engine: {kind: simulated, max_running: 4, step_ms: 20}, journal: {}}
"""
OTHER = "gateway-2"
TOKENS = 120
ASKED: dict[str, Any] = {
    "model": "tide",
    "messages": [{"role": "user", "content": "Where does the tide go?"}],
    "max_tokens": TOKENS,
    "ignore_eos": True,
    "stream": True,
    "stream_options": {"include_usage": True},
}
KEYED = {"idempotency-key": "voyage-1"}


@dataclass
class Seen:
    """What a client has of a stream."""

    last_id: str = ""
    chunks: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False

    @property
    def text(self) -> str:
        return "".join(choice["delta"].get("content", "") for chunk in self.chunks for choice in chunk["choices"])

    @property
    def names(self) -> set[tuple[str, int, str, str]]:
        return {(c["id"], c["created"], c["model"], c["system_fingerprint"]) for c in self.chunks}


async def events(client: httpx.AsyncClient, seen: Seen, **headers: str) -> AsyncIterator[Seen]:
    """Yields after each event, which is then in `seen`."""
    async with client.stream("POST", "/v1/chat/completions", json=ASKED, headers=headers) as answer:
        assert answer.status_code == 200, await answer.aread()
        async for line in answer.aiter_lines():
            kind, _, value = line.partition(": ")
            if kind == "id":
                seen.last_id = value
            elif value == "[DONE]":
                seen.done = True
            elif kind == "data":
                seen.chunks.append(json.loads(value))
                yield seen


@pytest.fixture
def two_gateways(tmp_path: Path) -> Iterator[ClusterUnderTest]:
    """On one machine, so with one ledger."""
    with cluster_under_test(tmp_path, CONFIG) as cluster:
        grpc, http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        cluster.injector.add(OTHER, "gateway", grpc, {"TIDEGATE_LISTEN": grpc, "TIDEGATE_HTTP_LISTEN": http})
        cluster.view.http[OTHER] = http
        yield cluster


def client_of(cluster: ClusterUnderTest, gateway: str) -> httpx.AsyncClient:
    key = {"authorization": f"Bearer {cluster.view.cluster.key}"}
    return httpx.AsyncClient(base_url=f"http://{cluster.view.http[gateway]}", headers=key, timeout=30)


async def test_a_stream_goes_on_at_another_gateway(two_gateways: ClusterUnderTest) -> None:
    cluster, view = two_gateways, two_gateways.view

    async def both_are_ready() -> bool:
        return len(await view.ready(["gateway", OTHER])) == 2

    await wait_until(both_are_ready, description="both gateways are ready", timeout=60)
    async with client_of(cluster, "gateway") as first, client_of(cluster, OTHER) as second:
        right = Seen()
        async for _ in events(second, right):
            pass
        before = Seen()
        with pytest.raises(httpx.TransportError):
            await read_until_killed(cluster, first, before)
        assert not before.done
        # Sooner than any lease lapses.
        assert await leaks(view, timeout_s=4.0) == set()
        after = Seen()
        async for _ in events(second, after, **KEYED, **{"last-event-id": before.last_id}):
            pass
    assert before.text + after.text == right.text
    assert after.names == before.names
    assert after.done
    for counted in ("prompt_tokens", "completion_tokens"):
        assert after.chunks[-1]["usage"][counted] == right.chunks[-1]["usage"][counted]
    await wait_until(lambda: len(rows(cluster)) == 3, description="every accepted request has a row", timeout=60)
    had = len([chunk for chunk in before.chunks if chunk["choices"][0]["delta"].get("content")])
    assert sorted(rows(cluster)) == [("completed", TOKENS - had), ("completed", TOKENS), ("lost", 0)]


async def read_until_killed(cluster: ClusterUnderTest, client: httpx.AsyncClient, seen: Seen) -> None:
    async for _ in events(client, seen, **KEYED):
        if len(seen.chunks) == TOKENS // 2:
            await asyncio.to_thread(cluster.injector.kill, "gateway")


def rows(cluster: ClusterUnderTest) -> list[tuple[str, int]]:
    database = DataFolder(cluster.view.cluster.folder / ".tidegate").gateway / "gateway.sqlite3"
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        return connection.execute("SELECT outcome, completion_tokens FROM ledger").fetchall()
