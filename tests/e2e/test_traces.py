"""One trace of a request whose worker is killed: from the client's span to the engine that ends the answer.

RECORD_TRACE=docs/images/trace.json keeps the trace; scripts/draw_trace.py draws it.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from openai import AsyncOpenAI

from tests.robustness.cluster_under_test import ClusterUnderTest, cluster_under_test
from tests.support.collector import Collected, Collector, collector
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CONFIG = """
traces_endpoint: {endpoint}
pools:
  - {{name: tide, model: simulated, workers: 2, engine: {{kind: simulated, max_running: 4, step_ms: 5}}}}
"""
SECRET = "Whose grandmother has the combination 4711?"
TOKENS = 300


@pytest.fixture(scope="module")
def seen() -> Iterator[tuple[Collector, str]]:
    with collector() as running:
        yield running


@pytest.fixture(scope="module")
def cluster(seen: tuple[Collector, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    config = CONFIG.format(endpoint=seen[1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        with cluster_under_test(tmp_path_factory.mktemp("traced"), config) as started:
            yield started


def new_trace() -> tuple[str, str, str]:
    """Trace id, span id and header of a client."""
    random = Random()
    trace_id, span_id = f"{random.getrandbits(128):032x}", f"{random.getrandbits(64):016x}"
    return trace_id, span_id, f"00-{trace_id}-{span_id}-01"


async def test_a_trace_shows_the_failover_and_no_text(cluster: ClusterUnderTest, seen: tuple[Collector, str]) -> None:
    trace_id, client, header = new_trace()
    killed = ""
    running = cluster.view.cluster
    async with AsyncOpenAI(base_url=running.rest, api_key=running.key, max_retries=0) as openai:
        stream = await openai.completions.create(
            model="tide",
            prompt=SECRET,
            max_tokens=TOKENS,
            stream=True,
            extra_body={"ignore_eos": True},
            extra_headers={"traceparent": header},
        )
        received = 0
        async for _ in stream:
            received += 1
            if received == 30:
                killed = await busy(cluster)
                cluster.injector.kill(killed)
        cluster.injector.start(killed)

    def complete() -> bool:
        names = {(span.service, span.name) for span in seen[0].trace(trace_id)}
        return {("tidegate-gateway", "request"), ("tidegate-worker", "worker")} <= names

    await wait_until(complete, description="the trace is there", timeout=60)
    spans = seen[0].trace(trace_id)
    (request,) = named(spans, "request")
    assert request.parent == client
    assert request.attributes["tidegate.outcome"] == "completed"
    assert request.attributes["gen_ai.usage.output_tokens"] == TOKENS
    assert {span.name for span in children(spans, request)} == {"admission", "attempt 1", "attempt 2", "failover"}
    (first,), (second,), (failover,) = (named(spans, name) for name in ("attempt 1", "attempt 2", "failover"))
    assert first.error
    assert not second.error
    assert first.attributes["tidegate.worker"] != second.attributes["tidegate.worker"]
    assert failover.attributes["tidegate.worker"] == first.attributes["tidegate.worker"]
    assert first.start < failover.start <= second.start < failover.end < second.end <= request.end
    assert [span.name for span in children(spans, first)] == ["router", "prefill", "decode"]
    # The spans of the killed worker died with it.
    assert {span.name for span in children(spans, second)} == {"router", "prefill", "decode", "worker"}
    (worker,) = named(spans, "worker")
    assert 30 <= worker.attributes["tidegate.resumed_tokens"] < TOKENS
    assert [span.name for span in children(spans, worker)] == ["engine prefill", "engine decode"]
    assert "4711" not in repr(seen[0].spans)
    log = (running.folder / ".tidegate/logs/gateway.log").read_text()
    lines = [json.loads(line) for line in log.splitlines() if '"attempt failed"' in line]
    assert lines[-1]["trace_id"] == trace_id
    assert lines[-1]["request_id"] == request.attributes["tidegate.request_id"]
    record(spans)


async def test_grpc_clients_send_their_trace_too(cluster: ClusterUnderTest, seen: tuple[Collector, str]) -> None:
    trace_id, client, header = new_trace()
    running = cluster.view.cluster
    async with grpc.aio.insecure_channel(running.grpc) as channel:
        stub = inference_pb2_grpc.InferenceServiceStub(channel)
        metadata = (("authorization", f"Bearer {running.key}"), ("traceparent", header))
        request: Any = inference_pb2.CompleteRequest(
            model="tide", prompt=SECRET, sampling=inference_pb2.Sampling(max_tokens=3)
        )
        async for _ in stub.Complete(request, metadata=metadata):
            pass
    await wait_until(lambda: named(seen[0].trace(trace_id), "request"), description="it is there", timeout=60)
    assert named(seen[0].trace(trace_id), "request")[0].parent == client


async def busy(cluster: ClusterUnderTest) -> str:
    """The name of the worker that generates."""
    found: list[str] = []

    async def one() -> bool:
        workers = cluster.view.named("worker")
        found[:] = [name for name in workers if await cluster.view.metric(name, "tidegate_worker_running")]
        return len(found) == 1

    await wait_until(one, description="one worker is busy")
    return found[0]


def rows(spans: list[Collected]) -> list[dict[str, Any]]:
    """The spans of one trace as the file has them: each below its parent, in milliseconds after the first began."""
    known = {span.span_id for span in spans}
    first = min(span.start for span in spans)
    found: list[dict[str, Any]] = []

    def add(span: Collected, depth: int) -> None:
        found.append(
            {
                "service": span.service,
                "name": span.name,
                "depth": depth,
                "start_ms": round((span.start - first) / 1e6, 2),
                "end_ms": round((span.end - first) / 1e6, 2),
                "error": span.error,
            }
        )
        for child in sorted(spans, key=lambda one: (one.start, one.end)):
            if child.parent == span.span_id:
                add(child, depth + 1)

    for span in spans:
        if span.parent not in known:
            add(span, 0)
    return found


def record(spans: list[Collected]) -> None:
    if target := os.environ.get("RECORD_TRACE"):
        Path(target).write_text(json.dumps(rows(spans), indent=1) + "\n")


def named(spans: list[Collected], name: str) -> list[Collected]:
    return [span for span in spans if span.name == name]


def children(spans: list[Collected], parent: Collected) -> list[Collected]:
    return [span for span in spans if span.parent == parent.span_id]
