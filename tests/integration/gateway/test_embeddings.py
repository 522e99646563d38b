"""Embeddings over REST and gRPC, with OpenAI's own client too."""

from typing import Any

import grpc
import pytest

from tests.integration.gateway.conftest import KEY, Cluster, Started
from tests.support.fakes import CONTEXT_TOKENS, EMBEDDER, MODEL, VERSION, FakeWorker, vector
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2, inference_pb2_grpc
from tidegate.worker.v1 import worker_pb2

TEXTS = ["high tide", "low tide", "ebb"]
AUTHORIZED = (("authorization", f"Bearer {KEY}"),)


@pytest.fixture
async def embedding(cluster: Cluster) -> Cluster:
    """A cluster that has a pool which embeds."""
    cluster.router.embeds = True
    cluster.router.send_catalog(VERSION)

    async def listed() -> bool:
        return EMBEDDER in (await cluster.http.get("/v1/models")).text

    await wait_until(listed, description="the pool is in the catalog")
    return cluster


def expected(*texts: str) -> list[list[float]]:
    return [vector(worker_pb2.Input(text=text)) for text in texts]


async def post(cluster: Cluster, **body: Any) -> Any:
    answer = await cluster.http.post("/v1/embeddings", json={"model": EMBEDDER, **body})
    assert answer.status_code == 200, answer.text
    return answer


async def test_one_text_and_several(embedding: Cluster) -> None:
    one = await post(embedding, input="high tide")
    assert one.json() == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0, "embedding": expected("high tide")[0]}],
        "model": EMBEDDER,
        "usage": {"prompt_tokens": 11, "total_tokens": 11},
    }
    assert one.headers["x-tidegate-model-version"] == VERSION
    several = await post(embedding, input=TEXTS)
    assert [item["embedding"] for item in several.json()["data"]] == expected(*TEXTS)
    await embedding.idle()
    assert [finish.prompt_tokens for finish in embedding.router.finishes] == [11, 11]


async def test_openai_s_client_reads_base64(embedding: Cluster) -> None:
    found = await embedding.openai.embeddings.create(model=EMBEDDER, input=TEXTS)
    assert [item.embedding for item in found.data] == expected(*TEXTS)


async def test_tokens_dimensions_and_truncation_reach_the_worker(embedding: Cluster) -> None:
    found = await post(embedding, input=[[7, 8], [9]], dimensions=1, truncate_prompt_tokens=5, truncation_side="right")
    assert [item["embedding"] for item in found.json()["data"]] == [[2.0], [1.0]]
    (start,) = embedding.worker.starts
    assert (start.sampling.truncate_prompt_tokens, start.sampling.keep_prompt_start) == (5, True)
    assert not start.HasField("hold_back")


async def test_another_worker_of_the_version_goes_on(embedding: Cluster, start: Started) -> None:
    other: FakeWorker = await start(FakeWorker("worker-2"))
    embedding.router.workers = (embedding.worker, other)
    behaviour = embedding.worker.behaviour
    behaviour.moves_after, behaviour.moves_as, behaviour.resumable = 2, worker_pb2.FAILURE_KIND_DRAINING, True
    found = await post(embedding, input=TEXTS)
    assert [item["embedding"] for item in found.json()["data"]] == expected(*TEXTS)
    assert [point.choice for point in other.starts[0].resume] == [0, 1]
    assert embedding.router.submits[-1].model_version == VERSION


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("embeddings", {"model": MODEL, "input": "a"}, "model", "model_does_not_embed"),
        ("embeddings", {"input": []}, "input", "invalid_value"),
        ("embeddings", {"input": ""}, "input", "invalid_value"),
        ("embeddings", {"input": ["a"] * 2049}, "input", "invalid_value"),
        ("embeddings", {"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
        ("embeddings", {"input": [[1], [1] * (CONTEXT_TOKENS + 1)]}, "input[1]", "context_length_exceeded"),
        ("embeddings", {"model": "gpt-9", "input": "a"}, "model", "model_not_found"),
        ("completions", {"prompt": "a"}, "model", "model_does_not_generate"),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}]}, "model", "model_does_not_generate"),
        ("responses", {"input": "a"}, "model", "model_does_not_generate"),
    ],
)
async def test_refusals(embedding: Cluster, path: str, body: dict[str, Any], param: str, code: str) -> None:
    answer = await embedding.http.post(f"/v1/{path}", json={"model": EMBEDDER, **body})
    error = answer.json()["error"]
    assert (answer.status_code in (400, 404), error["param"], error["code"]) == (True, param, code), answer.text
    assert not embedding.router.submits


async def test_what_a_worker_refuses_is_about_the_input(embedding: Cluster) -> None:
    embedding.worker.behaviour.refuse = worker_pb2.FAILURE_KIND_INVALID
    answer = await embedding.http.post("/v1/embeddings", json={"model": EMBEDDER, "input": "a"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "refused by the test")


async def test_over_grpc(embedding: Cluster) -> None:
    stub = inference_pb2_grpc.InferenceServiceStub(embedding.channel)
    call = stub.Embed(inference_pb2.EmbedRequest(model=EMBEDDER, inputs=TEXTS), metadata=AUTHORIZED)
    found = await call
    assert [list(item.values) for item in found.embeddings] == expected(*TEXTS)
    assert (found.model, found.usage.prompt_tokens) == (EMBEDDER, 11)
    short = await stub.Embed(
        inference_pb2.EmbedRequest(model=EMBEDDER, inputs=TEXTS, dimensions=1), metadata=AUTHORIZED
    )
    assert [list(item.values) for item in short.embeddings] == [[9.0], [8.0], [3.0]]
    with pytest.raises(grpc.aio.AioRpcError, match="does not embed"):
        await stub.Embed(inference_pb2.EmbedRequest(model=MODEL, inputs=["a"]), metadata=AUTHORIZED)
