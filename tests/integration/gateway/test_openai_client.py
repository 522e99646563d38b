"""The real openai client against the gateway."""

import asyncio

import openai
import pytest

from tests.integration.gateway.conftest import Cluster
from tests.support.fakes import MODEL, VERSION, text
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

ASK = [{"role": "user", "content": "Count."}]


async def test_whole_chat(cluster: Cluster) -> None:
    answer = await cluster.openai.chat.completions.create(model=MODEL, messages=ASK, seed=5, stop=["END"])
    assert answer.choices[0].message.content == text(5)
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (11, 5)
    assert answer.service_tier == "default"
    start = cluster.worker.starts[0]
    assert (start.sampling.seed, list(start.sampling.stop), start.model_version) == (5, ["END"], VERSION)
    await cluster.idle()
    assert cluster.router.finishes[0].outcome == router_pb2.OUTCOME_COMPLETED
    assert cluster.router.finishes[0].completion_tokens == 5


async def test_streamed_chat_with_usage_and_choices(cluster: Cluster) -> None:
    stream = await cluster.openai.chat.completions.create(
        model=MODEL, messages=ASK, n=2, stream=True, stream_options={"include_usage": True}, service_tier="priority"
    )
    texts, roles, usages = ["", ""], [], []
    async for chunk in stream:
        usages += [chunk.usage] if chunk.usage else []
        assert chunk.service_tier == "priority"
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
            roles += [choice.delta.role] if choice.delta.role else []
    assert texts == [text(5, 0), text(5, 1)]
    assert roles == ["assistant", "assistant"]
    [usage] = usages
    assert usage.completion_tokens == 10
    assert usage.prompt_tokens_details.cached_tokens == 4
    assert cluster.router.submits[0].service_class == router_pb2.SERVICE_CLASS_PRIORITY
    await cluster.idle()


async def test_completions_streamed_and_whole(cluster: Cluster) -> None:
    whole = await cluster.openai.completions.create(model=MODEL, prompt="Once", max_tokens=3)
    assert whole.choices[0].text == text(3)
    assert cluster.worker.starts[0].text == "Once"
    stream = await cluster.openai.completions.create(model=MODEL, prompt=[1, 2, 3], stream=True)
    assert "".join([chunk.choices[0].text async for chunk in stream]) == text(5)
    assert list(cluster.worker.starts[1].token_ids.ids) == [1, 2, 3]
    assert [start.sampling.max_tokens for start in cluster.worker.starts] == [3, 16]


async def test_tool_calls_and_logprobs(cluster: Cluster) -> None:
    def speak(delta: worker_pb2.Delta) -> None:
        delta.text = ""
        first = delta.token_ids[0] == 0
        delta.tool_calls.add(
            id="call_1" if first else "", name="look" if first else "", arguments="{" if first else "}"
        )
        delta.logprobs.add(token=b"x", logprob=-0.5).top.add(token=b"y", logprob=-1.5)
        if delta.finish_reason:
            delta.finish_reason = worker_pb2.FINISH_REASON_TOOL_CALLS

    cluster.worker.behaviour.tokens = 2
    cluster.worker.behaviour.delta = speak
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    answer = await cluster.openai.chat.completions.create(
        model=MODEL, messages=ASK, tools=tools, logprobs=True, top_logprobs=1
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content is None
    assert choice.message.tool_calls[0].function.arguments == "{}"
    assert choice.logprobs.content[0].top_logprobs[0].token == "y"
    chunks = await cluster.openai.chat.completions.create(model=MODEL, messages=ASK, tools=tools, stream=True)
    calls = [call async for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.id, call.function and call.function.arguments) for call in calls] == [("call_1", "{"), (None, "}")]


async def test_models(cluster: Cluster) -> None:
    models = [model async for model in cluster.openai.models.list()]
    assert [(model.id, model.owned_by, model.created) for model in models] == [(MODEL, "tidegate", 1_700_000_000)]
    assert (await cluster.openai.models.retrieve(MODEL)).id == MODEL
    with pytest.raises(openai.NotFoundError):
        await cluster.openai.models.retrieve("other")


async def test_many_streams_share_one_connection(cluster: Cluster) -> None:
    cluster.worker.behaviour.tokens = 400

    async def one() -> str:
        stream = await cluster.openai.chat.completions.create(model=MODEL, messages=ASK, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    answers = await asyncio.gather(*(one() for _ in range(20)))
    assert set(answers) == {text(400)}
    assert len(cluster.worker.hellos) == 1
    await cluster.idle()


async def test_refusals_carry_retry_after(cluster: Cluster) -> None:
    cluster.router.reject = router_pb2.Reject(reason=router_pb2.REJECT_REASON_QUEUE_FULL)
    with pytest.raises(openai.RateLimitError) as refused:
        await cluster.openai.chat.completions.create(model=MODEL, messages=ASK, stream=True)
    assert refused.value.response.headers["retry-after"] == "2"
    assert refused.value.code == "queue_full"
    assert not cluster.router.finishes
