"""A whole cluster on the simulated engine: what operators and clients see."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import grpc
import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import APIStatusError, AsyncOpenAI, BadRequestError

from tests.support.cluster import RunningCluster, tidegate
from tests.support.plain_http import no_certificates
from tests.support.wait import wait_until
from tidegate.inference.v1 import inference_pb2 as pb
from tidegate.inference.v1.inference_pb2_grpc import InferenceServiceStub

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

ENDLESS = {"ignore_eos": True}
QUESTION: list[Any] = [{"role": "user", "content": "Where does the tide go?"}]


@pytest.fixture
async def openai(simulated: RunningCluster) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key, max_retries=0) as client:
        yield client


async def gauge(cluster: RunningCluster, name: str) -> float:
    """Sum over the labels of one of the router's gauges."""
    router = next(process for process in cluster.record.processes if process.name.startswith("router"))
    async with httpx.AsyncClient(verify=no_certificates()) as http:
        lines = (await http.get(f"http://{router.http_address}/metrics")).text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name + "{"))


async def granted(cluster: RunningCluster, number: int) -> None:
    async def reached() -> bool:
        return await gauge(cluster, "tidegate_router_granted") == number

    await wait_until(reached, description=f"{number} requests run")


async def queued(cluster: RunningCluster, number: int) -> None:
    async def reached() -> bool:
        return await gauge(cluster, "llm_queue_size") == number

    await wait_until(reached, description=f"{number} requests wait")


async def ask(openai: AsyncOpenAI, tokens: int = 20, **fields: Any) -> str:
    answer = await openai.chat.completions.create(model="tide", messages=QUESTION, max_tokens=tokens, **fields)
    return answer.choices[0].message.content or ""


def test_status_lists_processes_and_workers(simulated: RunningCluster) -> None:
    status = simulated.status()
    names = {process["name"] for process in status["processes"]}
    expected = {"redis", "s3", "router-1", "router-2", "worker-1", "worker-2", "worker-3", "gateway", "trainer"}
    assert expected <= names
    assert all(process["pid"] > 0 for process in status["processes"])
    assert [worker["state"] for worker in status["workers"]] == ["ready"] * 3
    assert len({worker["version"] for worker in status["workers"]}) == 1


def test_a_second_up_says_that_one_is_running(simulated: RunningCluster) -> None:
    again = tidegate(simulated.folder, "up", "--detach")
    assert again.returncode != 0
    assert "already running" in again.stderr + again.stdout


async def test_streaming_and_whole_answers_agree(openai: AsyncOpenAI) -> None:
    whole = await ask(openai)
    stream = await openai.chat.completions.create(
        model="tide", messages=QUESTION, max_tokens=20, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == whole
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.completion_tokens == 20


async def test_how_an_answer_ends_is_the_same_streamed_and_not(openai: AsyncOpenAI) -> None:
    words = (await ask(openai, 20, extra_body=ENDLESS)).split()
    for limit, stop, ending in ((20, None, ("length", None)), (20, words[5], ("stop", words[5]))):
        asked: dict[str, Any] = {"model": "tide", "messages": QUESTION, "max_tokens": limit, "stop": stop}
        whole = (await openai.chat.completions.create(**asked, extra_body=ENDLESS)).choices[0]
        stream = await openai.chat.completions.create(**asked, stream=True, extra_body=ENDLESS)
        last = [chunk async for chunk in stream][-1].choices[0]
        for choice in (whole, last):
            assert (choice.finish_reason, (choice.model_extra or {})["stop_reason"]) == ending


async def test_tokens_of_prompts_in_and_out(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    """What evaluation harnesses do: measure a text that they send, and compare token ids."""
    asked: dict[str, Any] = {"model": "tide", "prompt": "a \U0001f30a\U0001f389", "max_tokens": 0, "echo": True}
    [choice] = (await openai.completions.create(**asked, logprobs=1, extra_body={"return_token_ids": True})).choices
    assert (choice.text, choice.finish_reason) == (asked["prompt"], "length")
    shown, extra = choice.logprobs, choice.model_extra or {}
    assert shown is not None
    assert shown.text_offset == [0, 1, 2, 2, 2, 2, 3, 3, 3, 3]
    assert shown.token_logprobs is not None
    assert [value is None for value in shown.token_logprobs] == [True, *[False] * 9]
    assert (len(extra["prompt_token_ids"]), extra["token_ids"]) == (10, [])
    headers = {"authorization": f"Bearer {simulated.key}"}
    async with httpx.AsyncClient(verify=no_certificates(), headers=headers) as http:
        body = {"model": "tide", "prompt": asked["prompt"], "return_token_strs": True}
        url = simulated.rest.removesuffix("/v1")
        counted = (await http.post(f"{url}/tokenize", json=body)).json()
    assert counted["tokens"] == extra["prompt_token_ids"]
    assert counted["token_strs"][2] == "<0xF0>"


async def test_a_completion_without_a_limit_has_16_tokens(openai: AsyncOpenAI) -> None:
    endless: dict[str, Any] = {"model": "tide", "prompt": "ebb", "extra_body": {"ignore_eos": True}}
    more = {"ignore_eos": True, "min_tokens": 20}
    short = await openai.completions.create(**endless)
    null = await openai.completions.create(**endless, max_tokens=None)
    longer = await openai.completions.create(**endless | {"extra_body": more})
    assert [answer.usage and answer.usage.completion_tokens for answer in (short, null, longer)] == [16, 16, 20]
    assert {answer.choices[0].finish_reason for answer in (short, null, longer)} == {"length"}


async def test_several_prompts_in_one_request(openai: AsyncOpenAI) -> None:
    """More prompts than the workers have slots, each answered as it is alone."""
    prompts = [f"Tide number {number}:" for number in range(40)]
    asked: dict[str, Any] = {"model": "tide", "prompt": prompts, "max_tokens": 6, "temperature": 0}
    whole = await openai.completions.create(**asked, n=2)
    assert [choice.index for choice in whole.choices] == list(range(80))
    alone = await openai.completions.create(**asked | {"prompt": prompts[-1]}, n=2)
    assert [choice.text for choice in whole.choices[-2:]] == [choice.text for choice in alone.choices]
    assert whole.usage is not None
    assert alone.usage is not None
    assert whole.usage.completion_tokens == 80 * 6
    stream = await openai.completions.create(**asked, n=2, stream=True, stream_options={"include_usage": True})
    texts, used = dict.fromkeys(range(80), ""), None
    async for chunk in stream:
        used = chunk.usage or used
        for choice in chunk.choices:
            texts[choice.index] += choice.text
    assert list(texts.values()) == [choice.text for choice in whole.choices]
    assert used is not None
    assert (used.prompt_tokens, used.completion_tokens) == (whole.usage.prompt_tokens, 80 * 6)


async def test_the_best_of_several_answers(openai: AsyncOpenAI) -> None:
    asked: dict[str, Any] = {"model": "tide", "prompt": "ebb", "max_tokens": 6, "seed": 7, "logprobs": 0}

    def likelihood(choice: Any) -> float:
        return float(sum(choice.logprobs.token_logprobs))

    every = (await openai.completions.create(**asked, n=5)).choices
    best = (await openai.completions.create(**asked, n=2, best_of=5)).choices
    ranked = sorted(every, key=likelihood, reverse=True)[:2]
    assert [choice.text for choice in best] == [choice.text for choice in ranked]


async def test_prompts_are_truncated_have_documents_and_no_suffix(openai: AsyncOpenAI) -> None:
    long = {"model": "tide", "prompt": "ebb " * 50, "max_tokens": 2, "echo": True}
    kept = await openai.completions.create(**long, extra_body={"truncate_prompt_tokens": 8})  # type: ignore[call-overload]
    assert kept.usage.prompt_tokens == 8
    with pytest.raises(BadRequestError) as refused:
        await openai.completions.create(model="tide", prompt="ebb", suffix="flow", max_tokens=2)
    assert refused.value.param == "suffix"
    documents = {"documents": [{"title": "Tides", "text": "Neap tides are small."}]}
    told = await openai.chat.completions.create(model="tide", messages=QUESTION, max_tokens=2, extra_body=documents)
    plain = await openai.chat.completions.create(model="tide", messages=QUESTION, max_tokens=2)
    assert told.usage is not None
    assert plain.usage is not None
    assert told.usage.prompt_tokens > plain.usage.prompt_tokens


async def test_tokens_in_and_tokens_out(simulated: RunningCluster) -> None:
    headers = {"authorization": f"Bearer {simulated.key}"}
    base = simulated.rest.removesuffix("/v1")
    async with httpx.AsyncClient(verify=no_certificates(), headers=headers, base_url=base) as http:
        sampling = {"max_tokens": 4, "temperature": 0, "logprobs": 1}
        body = {"model": "tide", "token_ids": [104, 105], "sampling_params": sampling, "output_mode": "text"}
        answer = (await http.post("/inference/v1/generate", json=body)).json()
        (choice,) = answer["choices"]
        back = (await http.post("/detokenize", json={"tokens": choice["token_ids"], "model": "tide"})).json()
        assert back["prompt"] == choice["text"]
        assert len(choice["logprobs"]["content"]) == 4
        assert (await http.get("/tokenizer_info")).status_code == 403
        admin = {"authorization": f"Bearer {simulated.variables['TIDEGATE_ADMIN_KEY']}"}
        shown = (await http.get("/tokenizer_info", headers=admin)).json()
        assert (shown["tokenizer_class"], shown["eos_token"]) == ("SimulatedTokenizer", "<end>")


async def test_a_hundred_at_once_all_get_the_same_words(openai: AsyncOpenAI) -> None:
    answers = await asyncio.gather(*(ask(openai, temperature=0) for _ in range(100)))
    assert len(set(answers)) == 1


async def test_a_later_priority_request_overtakes_when_all_slots_are_busy(
    simulated: RunningCluster, openai: AsyncOpenAI
) -> None:
    order: list[str] = []

    async def wait_in(tier: Any) -> None:
        await ask(openai, 1, service_tier=tier)
        order.append(tier)

    holders = [asyncio.create_task(ask(openai, 8000, extra_body=ENDLESS)) for _ in range(12)]
    await granted(simulated, 12)
    waiting = [asyncio.create_task(wait_in("default")) for _ in range(20)]
    await queued(simulated, 20)
    waiting.append(asyncio.create_task(wait_in("priority")))
    await queued(simulated, 21)
    holders[0].cancel()
    await asyncio.gather(*waiting)
    for holder in holders:
        holder.cancel()
    assert order == ["priority"] + ["default"] * 20


async def test_a_client_that_leaves_frees_its_slot(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    await granted(simulated, 0)
    stream = await openai.chat.completions.create(
        model="tide", messages=QUESTION, max_tokens=8000, stream=True, extra_body=ENDLESS
    )
    await anext(aiter(stream))
    whole = asyncio.create_task(ask(openai, 8000, extra_body=ENDLESS))
    await granted(simulated, 2)
    await stream.close()
    whole.cancel()
    await granted(simulated, 0)


async def test_grpc_says_what_rest_says(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    async with grpc.aio.insecure_channel(simulated.grpc) as channel:
        request = pb.ChatRequest(
            model="tide",
            messages=[pb.Message(role="user", content=QUESTION[0]["content"])],
            sampling=pb.Sampling(max_tokens=20),
        )
        metadata = (("authorization", f"Bearer {simulated.key}"),)
        messages = [m async for m in InferenceServiceStub(channel).Chat(request, metadata=metadata)]
    text = "".join(choice.content for message in messages for choice in message.choices)
    assert text == await ask(openai)
    assert messages[-1].usage.completion_tokens == 20


BAD = [
    (b"", 400, None),
    (b"{not json", 400, None),
    (b"[]", 400, None),
    ({"model": "no_certificates", "messages": QUESTION}, 404, "NOT_FOUND"),
    ({"model": "tide", "messages": QUESTION, "max_tokens": 0}, 400, "INVALID_ARGUMENT"),
    ({"model": "tide", "messages": []}, 400, "INVALID_ARGUMENT"),
    ({"model": "tide", "messages": QUESTION, "temperature": 3}, 400, "INVALID_ARGUMENT"),
]


async def test_anthropic_s_client_gets_the_same_words(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    said: Any = {"model": "tide", "messages": QUESTION}
    words = await ask(openai)
    async with AsyncAnthropic(base_url=simulated.rest.removesuffix("/v1"), api_key=simulated.key) as client:
        whole = await client.messages.create(**said, max_tokens=20)
        async with client.messages.stream(**said, max_tokens=20) as stream:
            streamed = await stream.get_final_message()
        counted = await client.messages.count_tokens(**said)
        stop = words[len(words) // 2 :][:6]
        stopped = await client.messages.create(**said, max_tokens=20, stop_sequences=[stop])
    for message in (whole, streamed):
        assert [getattr(block, "text", "") for block in message.content] == [words]
        assert message.usage.input_tokens + (message.usage.cache_read_input_tokens or 0) == counted.input_tokens
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", stop)


@pytest.mark.parametrize(("body", "status", "grpc_status"), BAD, ids=lambda value: str(value)[:40])
async def test_bad_input_is_refused_alike(
    simulated: RunningCluster, body: Any, status: int, grpc_status: str | None
) -> None:
    headers = {"authorization": f"Bearer {simulated.key}", "content-type": "application/json"}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with httpx.AsyncClient(verify=no_certificates()) as http:
        answer = await http.post(f"{simulated.rest}/chat/completions", content=content, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
    if grpc_status:
        assert await grpc_refusal(simulated, body, simulated.key) == grpc_status


async def test_a_wrong_key_is_refused_alike(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    with pytest.raises(APIStatusError) as refused:
        await ask(openai.with_options(api_key="wrong"))
    assert refused.value.status_code == 401
    assert await grpc_refusal(simulated, {"model": "tide", "messages": QUESTION}, "wrong") == "UNAUTHENTICATED"


async def grpc_refusal(cluster: RunningCluster, body: dict[str, Any], key: str) -> str:
    sampling = {name: body[name] for name in ("max_tokens", "temperature") if name in body}
    request = pb.ChatRequest(
        model=body["model"],
        messages=[pb.Message(**message) for message in body["messages"]],
        sampling=pb.Sampling(**sampling),
    )
    async with grpc.aio.insecure_channel(cluster.grpc) as channel:
        call = InferenceServiceStub(channel).Chat(request, metadata=(("authorization", f"Bearer {key}"),))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async for _ in call:
                pass
    return refused.value.code().name


async def test_a_killed_process_is_replaced_and_service_goes_on(simulated: RunningCluster, openai: AsyncOpenAI) -> None:
    for name in ("worker-1", "router-1"):
        victim = next(p for p in simulated.status()["processes"] if p["name"] == name)
        os.kill(victim["pid"], signal.SIGKILL)
        answers = await asyncio.gather(*(ask(openai) for _ in range(20)))
        assert len(set(answers)) == 1

        def replaced(name: str = name, old: int = victim["pid"]) -> bool:
            status = simulated.status()
            process = next(p for p in status["processes"] if p["name"] == name)
            ready = [w for w in status["workers"] if w["state"] == "ready"]
            return process["pid"] != old and process["state"] == "running" and len(ready) == 3

        await wait_until(replaced, description=f"{name} is back", timeout=60)
