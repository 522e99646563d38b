"""Completions of several prompts: one request of a client, and a generation for each prompt in the cluster."""

import asyncio
from collections import Counter
from typing import Any

import orjson
import pytest

from tests.integration.gateway.conftest import Cluster
from tests.support.fakes import MODEL, text
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

TIDES: dict[str, Any] = {"model": MODEL, "prompt": ["ebb", "flow", "slack"], "max_tokens": 3}


def events(body: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    return [line if line == "[DONE]" else orjson.loads(line) for line in lines]


async def test_choices_come_in_the_order_of_the_prompts(cluster: Cluster) -> None:
    answer = await cluster.openai.completions.create(**TIDES, n=2)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3, 4, 5]
    assert [choice.text for choice in answer.choices] == [text(3, 0), text(3, 1)] * 3
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (33, 18)
    assert answer.usage.total_tokens == 51
    assert answer.usage.prompt_tokens_details.cached_tokens == 12
    assert sorted(start.text for start in cluster.worker.starts) == ["ebb", "flow", "slack"]
    assert len({submit.request_id for submit in cluster.router.submits}) == 3
    await cluster.idle()


async def test_lists_of_tokens_are_prompts_too(cluster: Cluster) -> None:
    answer = await cluster.openai.completions.create(**TIDES | {"prompt": [[1, 2], [3]]})
    assert [choice.text for choice in answer.choices] == [text(3)] * 2
    assert sorted(list(start.token_ids.ids) for start in cluster.worker.starts) == [[1, 2], [3]]


async def test_a_stream_mixes_the_answers_under_one_id(cluster: Cluster) -> None:
    stream = await cluster.openai.completions.create(**TIDES, n=2, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    texts: Counter[int] = Counter()
    joined = dict.fromkeys(range(6), "")
    for choice in (choice for chunk in chunks for choice in chunk.choices):
        joined[choice.index] += choice.text
        texts[choice.index] += choice.finish_reason is not None
    assert list(joined.values()) == [text(3, 0), text(3, 1)] * 3
    assert texts == dict.fromkeys(range(6), 1)
    assert len({chunk.id for chunk in chunks}) == 1
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (33, 18)
    assert not any(chunk.usage for chunk in chunks[:-1])
    await cluster.idle()


@pytest.mark.parametrize("stream", [False, True])
async def test_one_refused_prompt_refuses_the_request(cluster: Cluster, stream: bool) -> None:
    cluster.router.reject = router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL)
    cluster.router.rejects = lambda submit: submit.request_id.endswith("-2")
    cluster.worker.behaviour.hang_after = 1
    answer = await cluster.http.post("/v1/completions", json={**TIDES, "stream": stream})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "queue_full")
    await wait_until(lambda: len(cluster.router.finishes) == 2, description="the other two are ended")
    assert {finish.outcome for finish in cluster.router.finishes} == {router_pb2.OUTCOME_CANCELLED}


async def test_a_wrong_prompt_is_named(cluster: Cluster) -> None:
    behaviour = cluster.worker.behaviour
    behaviour.refuse = worker_pb2.FAILURE_KIND_CONTEXT_LENGTH
    behaviour.refuses = lambda start: start.text == "flow"
    answer = await cluster.http.post("/v1/completions", json=TIDES)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt[1]")


async def test_one_that_fails_later_ends_the_stream_with_an_error(cluster: Cluster) -> None:
    behaviour = cluster.worker.behaviour
    behaviour.refuse = worker_pb2.FAILURE_KIND_CONTEXT_LENGTH
    behaviour.refuses, behaviour.refuses_after = lambda start: start.text == "flow", asyncio.Event()
    body = ""
    async with cluster.http.stream("POST", "/v1/completions", json={**TIDES, "stream": True}) as answer:
        assert answer.status_code == 200
        async for part in answer.aiter_text():
            body += part
            if '"finish_reason":"stop"' in body:
                behaviour.refuses_after.set()
    told = events(body)
    assert told[-1]["error"]["param"] == "prompt[1]"
    assert "[DONE]" not in told
    await cluster.idle()


async def test_a_client_that_leaves_ends_all_of_them(cluster: Cluster) -> None:
    cluster.worker.behaviour.hang_after = 1
    async with cluster.http.stream("POST", "/v1/completions", json={**TIDES, "stream": True}) as answer:
        await anext(answer.aiter_text())
    await cluster.idle()
    assert {finish.outcome for finish in cluster.router.finishes} == {router_pb2.OUTCOME_CANCELLED}


async def test_such_a_stream_cannot_be_resumed(cluster: Cluster) -> None:
    headers = {"idempotency-key": "k", "last-event-id": "1-abc"}
    answer = await cluster.http.post("/v1/completions", json={**TIDES, "stream": True}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "last-event-id")


async def test_an_idempotency_key_keeps_the_whole_answer(cluster: Cluster) -> None:
    headers = {"idempotency-key": "k"}
    first = await cluster.http.post("/v1/completions", json=TIDES, headers=headers)
    second = await cluster.http.post("/v1/completions", json=TIDES, headers=headers)
    assert first.json() == second.json()
    assert len(cluster.router.submits) == 3


async def test_the_best_answers_are_those_of_the_highest_log_probability_a_token(cluster: Cluster) -> None:
    def rate(delta: worker_pb2.Delta) -> None:
        likelihood = (-3.0, -0.5, -2.0, -1.0)[delta.choice]
        delta.logprobs.add(token_id=5, token=delta.text.encode(), logprob=likelihood)

    cluster.worker.behaviour.delta = rate
    asked = {"model": MODEL, "prompt": "ebb", "max_tokens": 3, "n": 2, "best_of": 4}
    best = (await cluster.http.post("/v1/completions", json=asked)).json()
    assert [choice["text"] for choice in best["choices"]] == [text(3, 1), text(3, 3)]
    assert [choice["index"] for choice in best["choices"]] == [0, 1]
    assert not any(choice["logprobs"] for choice in best["choices"])
    assert best["usage"]["completion_tokens"] == 12
    shown = (await cluster.http.post("/v1/completions", json={**asked, "logprobs": 0})).json()
    assert shown["choices"][0]["logprobs"]["token_logprobs"] == [-0.5] * 3
