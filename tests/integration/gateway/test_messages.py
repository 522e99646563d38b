"""Anthropic's Messages API, as the real anthropic client reads it."""

from collections.abc import AsyncIterator
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient

from tests.integration.gateway.conftest import KEY, Cluster
from tests.support.fakes import MODEL, text
from tests.support.plain_http import no_certificates
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

ASK: Any = {"model": MODEL, "max_tokens": 100, "messages": [{"role": "user", "content": "Count."}]}
TOOLS: Any = [{"name": "look", "description": "Looks.", "input_schema": {"type": "object"}}]
PATH = "/v1/messages"


@pytest.fixture
async def client(cluster: Cluster) -> AsyncIterator[AsyncAnthropic]:
    async with (
        DefaultAsyncHttpxClient(verify=no_certificates()) as under,
        AsyncAnthropic(
            base_url=f"http://{cluster.gateway.http_address}", api_key=KEY, max_retries=0, timeout=20, http_client=under
        ) as client,
    ):
        yield client


def looks(cluster: Cluster) -> None:
    """The worker calls a tool."""

    def speak(delta: worker_pb2.Delta) -> None:
        first = delta.token_ids[0] == 0
        name = {"id": "toolu_1", "name": "look"} if first else {}
        delta.text = ""
        delta.tool_calls.add(arguments='{"at":' if first else '"tide"}', **name)
        if delta.finish_reason:
            delta.finish_reason = worker_pb2.FINISH_REASON_TOOL_CALLS

    cluster.worker.behaviour.tokens, cluster.worker.behaviour.delta = 2, speak


async def test_whole(cluster: Cluster, client: AsyncAnthropic) -> None:
    message = await client.messages.create(
        **ASK, system="Be brief.", service_tier="standard_only", extra_body={"top_k": 3}
    )
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": text(5), "citations": None}]
    assert message.id.startswith("msg_")
    assert (message.role, message.model, message.stop_reason) == ("assistant", MODEL, "end_turn")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (7, 4, 5)
    assert message._request_id
    [start] = cluster.worker.starts
    assert (start.sampling.max_tokens, start.sampling.top_k) == (100, 3)
    assert b"Be brief." in start.chat.messages_json
    assert cluster.router.submits[0].service_class == router_pb2.SERVICE_CLASS_DEFAULT
    await cluster.idle()
    assert cluster.router.finishes[0].completion_tokens == 5


async def test_streamed(cluster: Cluster, client: AsyncAnthropic) -> None:
    async with client.messages.stream(**ASK) as stream:
        said = [part async for part in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(said) == text(5)
    assert len(said) == 5
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 7, 5)
    await cluster.idle()


async def test_thinking_comes_before_the_answer(cluster: Cluster, client: AsyncAnthropic) -> None:
    def think(delta: worker_pb2.Delta) -> None:
        if delta.token_ids[0] < 2:
            delta.reasoning, delta.text = delta.text, ""

    cluster.worker.behaviour.delta = think
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    message = await client.messages.create(**ASK, thinking=thinking)
    assert [block.type for block in message.content] == ["thinking", "text"]
    async with client.messages.stream(**ASK, thinking=thinking) as stream:
        streamed = await stream.get_final_message()
    assert [block.to_dict() for block in streamed.content] == [block.to_dict() for block in message.content]
    again = [*ASK["messages"], {"role": "assistant", "content": message.content}, {"role": "user", "content": "?"}]
    await client.messages.create(**{**ASK, "messages": again})
    assert b'"reasoning_content":"c0t0 c0t1 "' in cluster.worker.starts[-1].chat.messages_json


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_is_used_and_its_result_is_read(cluster: Cluster, client: AsyncAnthropic, streamed: bool) -> None:
    looks(cluster)
    choice: Any = {"type": "any", "disable_parallel_tool_use": True}
    if streamed:
        async with client.messages.stream(**ASK, tools=TOOLS, tool_choice=choice) as stream:
            message = await stream.get_final_message()
    else:
        message = await client.messages.create(**ASK, tools=TOOLS, tool_choice=choice)
    [use] = message.content
    assert use.type == "tool_use"
    assert (use.id, use.name, use.input, message.stop_reason) == ("toolu_1", "look", {"at": "tide"}, "tool_use")
    chat = cluster.worker.starts[0].chat
    assert (chat.tool_choice_json, chat.parallel_tool_calls) == (b'"required"', False)

    cluster.worker.behaviour.tokens, cluster.worker.behaviour.delta = 5, lambda delta: None
    result = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "low"}]}
    turns: Any = [
        *ASK["messages"],
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    answer = await client.messages.create(**{**ASK, "messages": turns}, tools=TOOLS)
    assert answer.stop_reason == "end_turn"
    assert b'{"role":"tool","content":"low","tool_call_id":"toolu_1"}' in cluster.worker.starts[1].chat.messages_json


async def test_the_stop_sequence_is_named(cluster: Cluster, client: AsyncAnthropic) -> None:
    def stop(delta: worker_pb2.Delta) -> None:
        delta.stop_reason = "END" if delta.finish_reason else ""

    cluster.worker.behaviour.delta = stop
    message = await client.messages.create(**ASK, stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", "END")
    assert list(cluster.worker.starts[0].sampling.stop) == ["END"]


async def test_tokens_are_counted(cluster: Cluster, client: AsyncAnthropic) -> None:
    few = await client.messages.count_tokens(model=MODEL, messages=ASK["messages"])
    more = await client.messages.count_tokens(model=MODEL, messages=ASK["messages"], system="Be brief.", tools=TOOLS)
    assert 0 < few.input_tokens < more.input_tokens
    assert not cluster.router.submits


async def test_what_clients_of_anthropic_send_beside_the_question(cluster: Cluster) -> None:
    """As Claude Code does: a key as x-api-key, beta headers and a query, marks for a cache, tools of other servers."""
    mark = {"cache_control": {"type": "ephemeral"}}
    body = {
        **ASK,
        "system": [{"type": "text", "text": "Be brief.", **mark}],
        "metadata": {"user_id": "u"},
        "tools": [{"type": "web_search_20250305", "name": "web_search"}, {**TOOLS[0], **mark}],
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": []},
    }
    headers = {
        "authorization": "",
        "x-api-key": KEY,
        "anthropic-version": "2023-06-01",
        "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
    }
    answer = await cluster.http.post(f"{PATH}?beta=true", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    assert set(answer.headers["x-tidegate-ignored"].split(", ")) == {
        "system[0].cache_control", "tools[0]", "tools[1].cache_control", "metadata", "context_management"
    }  # fmt: skip
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert b"web_search" not in cluster.worker.starts[0].chat.tools_json


async def test_an_idempotency_key_has_one_answer(cluster: Cluster) -> None:
    for stream in (False, True):
        headers = {"idempotency-key": f"tide-{stream}"}
        first, again = [await cluster.http.post(PATH, json={**ASK, "stream": stream}, headers=headers) for _ in "ab"]
        assert first.text == again.text
    assert len(cluster.worker.starts) == 2


def error(caught: Any) -> tuple[int, str]:
    """Status and type; the request's id is in the body and in its header."""
    assert caught.value.body["request_id"] == caught.value.request_id
    assert set(caught.value.body["error"]) == {"type", "message"}
    return caught.value.status_code, caught.value.body["error"]["type"]


async def test_errors_of_requests(cluster: Cluster, client: AsyncAnthropic) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens") as bad:
        await client.messages.create(**{**ASK, "max_tokens": 0})
    assert error(bad) == (400, "invalid_request_error")
    with pytest.raises(anthropic.NotFoundError, match="no-such-model") as unknown:
        await client.messages.create(**{**ASK, "model": "no-such-model"})
    assert error(unknown) == (404, "not_found_error")
    with pytest.raises(anthropic.NotFoundError) as route:
        await client.messages.batches.list()
    assert error(route) == (404, "not_found_error")
    with pytest.raises(anthropic.AuthenticationError) as stranger:
        await client.with_options(api_key="nobody").messages.create(**ASK)
    assert error(stranger) == (401, "authentication_error")
    not_json = await cluster.http.post(PATH, content=b"{", headers={"content-type": "application/json"})
    assert (not_json.status_code, not_json.json()["type"]) == (400, "error")
    wrong_method = await cluster.http.get(PATH)
    assert (wrong_method.status_code, wrong_method.json()["error"]["type"]) == (405, "invalid_request_error")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (router_pb2.REJECT_REASON_QUEUE_FULL, (529, "overloaded_error")),
        (router_pb2.REJECT_REASON_NO_WORKERS, (529, "overloaded_error")),
        (router_pb2.REJECT_REASON_RATE_LIMITED, (429, "rate_limit_error")),
        (router_pb2.REJECT_REASON_DEADLINE, (504, "timeout_error")),
    ],
)
async def test_errors_of_the_cluster(
    cluster: Cluster, client: AsyncAnthropic, reason: "router_pb2.RejectReason.ValueType", told: tuple[int, str]
) -> None:
    cluster.router.reject = router_pb2.Reject(reason=reason, retry_after_ms=1500)
    with pytest.raises(anthropic.APIStatusError) as refused:
        await client.messages.create(**ASK)
    assert error(refused) == told
    if told[0] in (429, 529):
        assert refused.value.response.headers["retry-after"] == "2"


async def test_a_stream_that_fails_says_so(cluster: Cluster, client: AsyncAnthropic) -> None:
    async def read() -> None:
        async with client.messages.stream(**ASK) as stream:
            async for _ in stream.text_stream:
                await cluster.worker.stop()

    cluster.worker.behaviour.hang_after = 2
    with pytest.raises(anthropic.APIStatusError, match="api_error"):
        await read()
    await wait_until(lambda: bool(cluster.router.finishes), description="the attempt is finished")


async def test_a_thread_begins_and_its_client_sends_the_whole_conversation(
    cluster: Cluster, client: AsyncAnthropic
) -> None:
    begun = await client.messages.with_raw_response.create(**ASK, extra_body={"thread": {"type": "create"}})
    assert begun.headers["x-tidegate-ignored"] == "thread"
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": "high"}
    rest: Any = {**ASK, "messages": [{"role": "user", "content": [result]}]}
    thread = {"type": "continue", "previous_message_id": begun.http_response.json()["id"]}
    with pytest.raises(anthropic.NotFoundError, match=r"thread\.previous_message_id: .* send all messages") as refused:
        await client.messages.create(**rest, extra_body={"thread": thread})
    assert refused.value.body["error"]["details"] == {"error_code": "thread_not_found"}  # type: ignore[index]
