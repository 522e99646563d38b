"""A stream that waits hears of its place in the queue, in comments that clients skip."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.gateway.http.connection import generation_response
from tests.integration.gateway.conftest import Cluster
from tests.support.fakes import MODEL, text
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2

ASK = [{"role": "user", "content": "Count."}]


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generation_response, "QUEUE_NEWS_INTERVAL_S", 0.1)


@asynccontextmanager
async def waiting(cluster: Cluster, path: str = "chat/completions", **body: Any) -> AsyncIterator[AsyncIterator[str]]:
    """Lines of a stream whose request is held in the queue."""
    cluster.router.holding = True
    asked = {"model": MODEL, "stream": True, **(body or {"messages": ASK})}
    async with cluster.http.stream("POST", f"/v1/{path}", json=asked) as answer:
        assert answer.status_code == 200
        yield answer.aiter_lines()


async def test_position_and_expected_wait(cluster: Cluster) -> None:
    async with waiting(cluster) as lines:
        assert await anext(lines) == ": queued 0, about 1 s"
        [submit] = cluster.router.submits
        cluster.router.tell_place(submit, 12, 2500)
        while (line := await anext(lines)) != ": queued 12, about 3 s":
            assert line in ("", ": queued 0, about 1 s")
        cluster.router.tell_place(submit, 1, 0)
        while (line := await anext(lines)) != ": queued 1, about 1 s":
            assert line in ("", ": queued 12, about 3 s")
        cluster.router.grant(submit)
        rest = [line async for line in lines]
    assert rest[-2] == "data: [DONE]"
    await cluster.idle()


async def test_a_slow_worker_keeps_the_stream_alive(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 0
    body = {"model": MODEL, "stream": True, "messages": ASK}
    async with cluster.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert await anext(answer.aiter_lines()) == ": keep-alive"
        # Until the first token another worker, of another version, may take the request over.
        assert answer.headers["x-tidegate-model-version"] == "none"


async def test_openai_reads_past_the_comments(cluster: Cluster) -> None:
    cluster.router.holding = True
    stream = await cluster.openai.chat.completions.create(model=MODEL, messages=ASK, stream=True)
    cluster.router.grant(cluster.router.submits[0])
    assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == text(5)


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
async def test_a_late_refusal_is_the_last_event(cluster: Cluster, path: str) -> None:
    body = {"messages": ASK} if path == "chat/completions" else {"input": "Count."}
    async with waiting(cluster, path, **body) as lines:
        await anext(lines)
        name: Any = {"request_id": cluster.router.submits[0].request_id, "attempt": 1}
        cluster.router.session.send(reject=router_pb2.Reject(**name, reason=router_pb2.REJECT_REASON_DEADLINE))
        told = [json.loads(line.removeprefix("data: ")) async for line in lines if line.startswith("data: ")]
    assert len(told) == 1
    error = told[0].get("error") or told[0]["response"]["error"]
    assert error["message"] == "The request could not be started in time."


async def test_a_client_that_leaves_while_it_waits_in_the_queue(cluster: Cluster) -> None:
    async with waiting(cluster) as lines:
        await anext(lines)
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish")
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_CANCELLED


async def test_a_quick_refusal_keeps_its_status(cluster: Cluster) -> None:
    cluster.router.reject = router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL)
    answer = await cluster.http.post("/v1/chat/completions", json={"model": MODEL, "messages": ASK, "stream": True})
    assert answer.status_code == 429
