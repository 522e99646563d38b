"""Workers that refuse or die, routers that go away, clients that leave or stall."""

import asyncio
import json
from random import Random
from typing import Any

import httpx
import openai
import psutil
import pytest

from services.gateway.app import GatewayApp
from services.shared.settings import split
from tests.integration.gateway.conftest import KEY, Cluster, Started, settings
from tests.support.fakes import MODEL, Behaviour, FakeRouter, FakeWorker, text
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

ASK = [{"role": "user", "content": "Count."}]


async def stream_text(cluster: Cluster) -> str:
    stream = await cluster.openai.chat.completions.create(model=MODEL, messages=ASK, stream=True)
    return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])


async def second_worker(cluster: Cluster, start: Started) -> FakeWorker:
    worker: FakeWorker = await start(FakeWorker("worker-2"))
    cluster.router.workers = (cluster.worker, worker)
    return worker


@pytest.mark.parametrize(
    "kind",
    [worker_pb2.FAILURE_KIND_DRAINING, worker_pb2.FAILURE_KIND_WRONG_VERSION, worker_pb2.FAILURE_KIND_ENGINE],
)
async def test_refused_before_the_first_token_goes_elsewhere(cluster: Cluster, start: Started, kind: Any) -> None:
    await second_worker(cluster, start)
    cluster.worker.behaviour.refuse = kind
    assert await stream_text(cluster) == text(5)
    second = cluster.router.submits[1]
    assert (second.attempt, second.at_head, list(second.excluded_workers)) == (2, True, ["worker-1"])
    await cluster.idle()
    outcomes = [finish.outcome for finish in cluster.router.finishes]
    assert outcomes == [router_pb2.OUTCOME_RETRYING, router_pb2.OUTCOME_COMPLETED]
    assert not cluster.worker.cancels


async def test_worker_dead_before_the_first_token(cluster: Cluster, start: Started) -> None:
    await second_worker(cluster, start)
    cluster.worker.behaviour.hang_after = 0
    answer = asyncio.create_task(stream_text(cluster))
    await wait_until(lambda: cluster.worker.starts, description="the first worker has the request")
    await cluster.worker.stop()
    assert await answer == text(5)
    assert cluster.router.submits[1].engine_deaths == 1


async def test_revoked_before_the_first_token(cluster: Cluster, start: Started) -> None:
    await second_worker(cluster, start)
    cluster.worker.behaviour.hang_after = 0
    answer = asyncio.create_task(stream_text(cluster))
    await wait_until(lambda: cluster.worker.starts, description="the first worker has the request")
    cluster.router.revoke(cluster.router.submits[0])
    assert await answer == text(5)
    await wait_until(lambda: cluster.worker.cancels, description="the first worker is told to stop")


async def test_frames_of_another_epoch_are_dropped(cluster: Cluster, start: Started) -> None:
    second = await second_worker(cluster, start)
    cluster.worker.behaviour.reported_epoch = cluster.worker.epoch + 1
    answer = asyncio.create_task(stream_text(cluster))
    await wait_until(lambda: cluster.worker.sent_tokens, description="the first worker has spoken")
    cluster.router.revoke(cluster.router.submits[0])
    assert await answer == text(5)
    assert second.starts


async def test_frames_of_a_former_attempt_are_dropped(cluster: Cluster, start: Started) -> None:
    """The worker was frozen, lost its request to another worker, and then sends the rest."""
    first, second = cluster.worker, await second_worker(cluster, start)
    for worker, tokens in ((first, 2), (second, 4)):
        worker.behaviour.resumable, worker.behaviour.hang_after = True, tokens
        worker.behaviour.wakes = asyncio.Event()
    answer = asyncio.create_task(stream_text(cluster))
    await wait_until(lambda: sum(first.sent_tokens.values()) == 2, description="the first worker has frozen")
    cluster.router.revoke(cluster.router.submits[0])
    await wait_until(lambda: sum(second.sent_tokens.values()) == 2, description="the second one has gone on")
    (point,) = second.starts[0].resume
    assert (list(point.token_ids), point.text_offset) == ([0, 1], len(text(2)))
    assert first.behaviour.wakes
    assert second.behaviour.wakes
    first.behaviour.wakes.set()
    await wait_until(lambda: sum(first.sent_tokens.values()) == 5, description="the first one has sent all it had")
    second.behaviour.wakes.set()
    assert await answer == text(5)


async def test_request_at_fault_is_not_retried(cluster: Cluster) -> None:
    cluster.worker.behaviour.refuse = worker_pb2.FAILURE_KIND_CONTEXT_LENGTH
    with pytest.raises(openai.BadRequestError) as refused:
        await stream_text(cluster)
    assert refused.value.code == "context_length_exceeded"
    await cluster.idle()
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_FAILED


async def test_worker_dying_mid_stream_ends_the_stream_with_an_error(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 2
    body = {"model": MODEL, "messages": ASK, "stream": True}
    events = []
    async with cluster.http.stream("POST", "/v1/chat/completions", json=body) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            events += [line.removeprefix("data: ")] if line else []
            if "c0t1" in line:
                await cluster.worker.stop()
    assert json.loads(events[-1])["error"]["code"] == "engine_failed"
    assert "[DONE]" not in events
    await cluster.idle()
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_FAILED
    counted = cluster.gateway.metrics.requests.labels(MODEL, "502")
    assert counted._value.get() == 1


@pytest.mark.parametrize(
    ("stream", "padding"),
    [(True, 0), (False, 0), pytest.param(False, 200_000, id="a body larger than is read in one go")],
)
async def test_client_that_leaves_frees_its_slot(cluster: Cluster, stream: bool, padding: int) -> None:
    cluster.worker.behaviour.hang_after = 2
    body = json.dumps({"model": MODEL, "messages": ASK, "stream": stream}) + " " * padding
    headers = {"content-type": "application/json"}
    request = asyncio.create_task(cluster.http.post("/v1/chat/completions", content=body, headers=headers))
    await wait_until(lambda: any(n == 2 for n in cluster.worker.sent_tokens.values()), description="two tokens")
    request.cancel()
    await wait_until(lambda: cluster.worker.cancels, description="the worker sees Cancel")
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish")
    assert cluster.worker.cancels[0].reason == worker_pb2.CANCEL_REASON_CLIENT_LEFT
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_CANCELLED
    await cluster.idle()


async def test_client_that_leaves_the_queue(cluster: Cluster) -> None:
    cluster.router.holding = True
    request = asyncio.create_task(stream_text(cluster))
    await wait_until(lambda: cluster.router.submits, description="the request is queued")
    request.cancel()
    await wait_until(lambda: cluster.router.finishes, description="the router sees Finish")
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_CANCELLED
    assert not cluster.worker.starts


async def test_queued_request_survives_its_router(start: Started, worker: FakeWorker) -> None:
    routers = [await start(FakeRouter(worker)) for _ in range(2)]
    gateway: GatewayApp = await start(GatewayApp(settings(*(r.address for r in routers)), random=Random(3)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    first = next(router for router in routers if router.hellos)
    other = next(router for router in routers if router is not first)
    first.holding = True
    body = {"model": MODEL, "messages": ASK}
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body, headers=headers))
        await wait_until(lambda: first.submits, description="the request is queued")
        await first.stop()
        answer = await request
    assert answer.json()["choices"][0]["message"]["content"] == text(5)
    assert other.submits[0] == first.submits[0]
    assert other.hellos[0].session_id == first.hellos[0].session_id


async def test_running_request_is_reported_to_the_next_router(start: Started, worker: FakeWorker) -> None:
    routers = [await start(FakeRouter(worker)) for _ in range(2)]
    gateway: GatewayApp = await start(GatewayApp(settings(*(r.address for r in routers)), random=Random(3)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    first = next(router for router in routers if router.hellos)
    other = next(router for router in routers if router is not first)
    worker.behaviour.hang_after = 2
    body = {"model": MODEL, "messages": ASK, "stream": True}
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body, headers=headers))
        await wait_until(lambda: worker.sent_tokens, description="the answer has begun")
        await first.stop()
        await wait_until(lambda: other.submits, description="the other router hears of it")
        request.cancel()
        await wait_until(lambda: other.finishes, description="the other router sees Finish")
    assert other.submits[0].placement.worker_id == worker.worker_id
    assert other.submits[0].placement.worker_epoch == worker.epoch


async def test_finish_that_no_router_received_is_sent_again(start: Started, worker: FakeWorker) -> None:
    router: FakeRouter = await start(FakeRouter(worker))
    gateway: GatewayApp = await start(GatewayApp(settings(router.address), random=Random(3)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    worker.behaviour.hang_after = 2
    body = {"model": MODEL, "messages": ASK, "stream": True}
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body, headers=headers))
        await wait_until(lambda: worker.sent_tokens, description="the answer has begun")
        await router.stop()
        await wait_until(lambda: not gateway.router.connected, description="the gateway notices")
        request.cancel()
        await wait_until(lambda: worker.cancels, description="the worker sees Cancel")
    returned = FakeRouter(worker)
    returned.listen = router.address
    await start(returned)
    await wait_until(lambda: returned.finishes, description="the router that came back sees Finish")
    assert returned.finishes[0].outcome == router_pb2.OUTCOME_CANCELLED
    assert not returned.submits


async def test_without_a_router_requests_are_refused_in_time(cluster: Cluster, start: Started) -> None:
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, router_patience_s=0.3)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    await cluster.router.stop()
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        assert (await client.get("/livez")).status_code == 200
        await wait_until(lambda: gateway.ready() is not None, description="the gateway notices")
        assert (await client.get("/readyz")).text == "no connection to a router"
        answer = await client.post(
            "/v1/chat/completions", json={"model": MODEL, "messages": ASK}, headers={"authorization": f"Bearer {KEY}"}
        )
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "router_unavailable"


async def test_a_gateway_that_changes_its_router_stays_ready(cluster: Cluster, start: Started) -> None:
    """All gateways lose a router at once. A load balancer that took them all out refused every request meanwhile."""
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, router_patience_s=60)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    await cluster.router.stop()
    await wait_until(lambda: not gateway.router.connected, description="the gateway notices")
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_gateway_starts_before_its_router(start: Started, worker: FakeWorker) -> None:
    router = FakeRouter(worker)
    gateway: GatewayApp = await start(GatewayApp(settings("127.0.0.1:9")))
    assert gateway.ready() == "no connection to a router"
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        answer = await client.get("/v1/models", headers={"authorization": f"Bearer {KEY}"})
    assert answer.status_code == 503
    assert not router.hellos


async def test_stalled_reader_is_bounded_and_dropped(cluster: Cluster, start: Started) -> None:
    def pad(delta: worker_pb2.Delta) -> None:
        delta.text = "x" * 8000

    cluster.worker.behaviour = Behaviour(tokens=100_000, delta=pad)
    gateway: GatewayApp = await start(GatewayApp(settings(cluster.router.address, stall_timeout_s=3.0)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    reader, writer = await _stall(gateway)
    try:
        await wait_until(lambda: cluster.worker.sent_tokens, description="the stalled stream has begun")
        stalled = cluster.router.submits[0].request_id
        # The kernel's socket buffers take some megabytes; the rest of these 32 MB stays with the worker.
        assert await _settled(cluster.worker, stalled) < 3000
        cluster.worker.behaviour = Behaviour()
        assert await stream_text(cluster) == text(5)
        await wait_until(lambda: cluster.router.finishes, description="the stalled client is dropped")
        await wait_until(lambda: cluster.worker.cancels, description="its slot is freed")
        await wait_until(lambda: not _connections(gateway), description="its connection and buffer are gone")
    finally:
        writer.transport.abort()
    assert reader is not None


def _connections(gateway: GatewayApp) -> list[int]:
    """Counts the open sockets on the gateway's side."""
    port = split(gateway.http_address)[1]
    sockets = psutil.Process().net_connections("tcp")
    return [socket.fd for socket in sockets if socket.laddr.port == port and socket.status == "ESTABLISHED"]


async def _stall(gateway: GatewayApp) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Sends a request and then reads nothing."""
    reader, writer = await asyncio.open_connection(*split(gateway.http_address), limit=1024)
    body = json.dumps({"model": MODEL, "messages": ASK, "stream": True, "max_tokens": 4000}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(head.encode() + body)
    return reader, writer


async def _settled(worker: FakeWorker, request_id: str) -> int:
    """Waits until no more tokens come, and returns how many came."""
    seen = [-1]

    def still() -> bool:
        seen.append(worker.sent_tokens[request_id])
        return len(seen) > 30 and seen[-1] == seen[-30]

    await wait_until(still, description="the worker waits for credit")
    return seen[-1]


async def test_drain_finishes_open_requests(start: Started, cluster: Cluster) -> None:
    gateway = GatewayApp(settings(cluster.router.address))
    await gateway.start()
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    cluster.router.holding = True
    body = {"model": MODEL, "messages": ASK}
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        headers = {"authorization": f"Bearer {KEY}"}
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body, headers=headers))
        await wait_until(lambda: cluster.router.submits, description="the request is queued")
        stopping = asyncio.create_task(gateway.stop())
        await wait_until(lambda: gateway.ready() == "draining", description="the gateway drains")
        cluster.router.grant(cluster.router.submits[0])
        answer = await request
        await stopping
    assert answer.json()["choices"][0]["message"]["content"] == text(5)
    await cluster.idle()


async def test_a_stopping_gateway_is_unready_before_it_refuses_requests(cluster: Cluster) -> None:
    gateway = GatewayApp(settings(cluster.router.address, linger_s=1.0))
    await gateway.start()
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    stopping = asyncio.create_task(gateway.stop())
    await wait_until(lambda: gateway.ready() == "draining", description="the gateway says that it leaves")
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        assert (await client.get("/readyz")).status_code == 503
        body, headers = {"model": MODEL, "messages": ASK}, {"authorization": f"Bearer {KEY}"}
        answer = await client.post("/v1/chat/completions", json=body, headers=headers)
    assert answer.json()["choices"][0]["message"]["content"] == text(5)
    await stopping
    await cluster.idle()


async def test_requests_that_are_open_after_the_drain_time_end(cluster: Cluster) -> None:
    gateway = GatewayApp(settings(cluster.router.address, drain_s=0))
    await gateway.start()
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    cluster.router.holding = True
    body, headers = {"model": MODEL, "messages": ASK}, {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(base_url=f"http://{gateway.http_address}", timeout=20) as client:
        request = asyncio.create_task(client.post("/v1/chat/completions", json=body, headers=headers))
        await wait_until(lambda: cluster.router.submits, description="the request is queued")
        await asyncio.wait_for(gateway.stop(), 20)
        with pytest.raises(httpx.HTTPError):
            (await request).raise_for_status()
    await cluster.idle()
