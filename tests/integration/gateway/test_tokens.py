"""Counting tokens over REST."""

from typing import Any

import pytest

from tests.integration.gateway.conftest import Cluster, Started
from tests.support.fakes import CONTEXT_TOKENS, MODEL, FakeRouter, FakeWorker
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2

ASK = [{"role": "user", "content": "hi"}]


async def test_tokens_of_a_prompt_and_back(cluster: Cluster) -> None:
    counted = (await cluster.http.post("/v1/tokenize", json={"model": MODEL, "prompt": "hi"})).json()
    assert counted == {"count": 2, "max_model_len": CONTEXT_TOKENS, "tokens": [104, 105], "token_strs": None}
    back = await cluster.http.post("/v1/detokenize", json={"model": MODEL, "tokens": counted["tokens"]})
    assert back.json() == {"prompt": "hi"}


async def test_tokens_of_a_chat_are_those_of_its_template(cluster: Cluster) -> None:
    counted = (await cluster.http.post("/v1/tokenize", json={"model": MODEL, "messages": ASK})).json()
    assert b'"role":"user"' in bytes(counted["tokens"])
    assert not cluster.router.submits


@pytest.mark.parametrize(
    ("path", "body", "param", "code"),
    [
        ("tokenize", {"prompt": "a", "messages": ASK}, "prompt", "invalid_value"),
        ("tokenize", {}, "prompt", "invalid_value"),
        ("tokenize", {"prompt": "a", "model": "gpt-9"}, "model", "model_not_found"),
        ("detokenize", {"tokens": [-1]}, "tokens[0]", "invalid_value"),
        ("detokenize", {"tokens": []}, "tokens", "invalid_value"),
    ],
)
async def test_refusals(cluster: Cluster, path: str, body: dict[str, Any], param: str, code: str) -> None:
    answer = await cluster.http.post(f"/v1/{path}", json={"model": MODEL, **body})
    assert answer.status_code in (400, 404), answer.text
    assert (answer.json()["error"]["param"], answer.json()["error"]["code"]) == (param, code)


async def test_an_error_of_the_worker_reaches_the_client(cluster: Cluster) -> None:
    cluster.worker.behaviour.refuse = worker_pb2.FAILURE_KIND_INVALID
    answer = await cluster.http.post("/v1/tokenize", json={"model": MODEL, "prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "refused by the test")
    assert answer.json()["error"]["param"] == "prompt"
    answer = await cluster.http.post("/v1/tokenize", json={"model": MODEL, "messages": ASK})
    assert answer.json()["error"]["param"] == "messages"
    answer = await cluster.http.post("/v1/detokenize", json={"model": MODEL, "tokens": [999]})
    assert answer.json()["error"]["param"] == "tokens"
    cluster.worker.behaviour.refuse = worker_pb2.FAILURE_KIND_ENGINE
    answer = await cluster.http.post("/v1/tokenize", json={"model": MODEL, "prompt": "a"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_workers")
    assert answer.headers["retry-after"]


async def test_another_worker_is_asked_when_one_is_gone(start: Started, cluster: Cluster) -> None:
    gone: FakeWorker = await start(FakeWorker("gone"))
    cluster.router.workers = (gone, cluster.worker)
    returned = FakeRouter(gone, cluster.worker)
    await cluster.router.stop()
    returned.listen = cluster.router.address
    await start(returned)
    await wait_until(lambda: returned.hellos, description="the gateway knows both workers")
    await gone.stop()
    for _ in range(4):
        answer = await cluster.http.post("/v1/tokenize", json={"model": MODEL, "prompt": "a"})
        assert answer.json()["tokens"] == [97]
