"""The Responses API, as the real openai client reads it."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import openai
import orjson
import pytest

from services.gateway.app import GatewayApp
from services.gateway.database.engine import DatabaseAway
from tests.integration.gateway.conftest import Cluster, Started, client_of, settings
from tests.support.fakes import MODEL, FakeRouter, FakeWorker, text
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}


async def test_whole(cluster: Cluster) -> None:
    answer = await cluster.openai.responses.create(
        model=MODEL, input="Count.", instructions="Be brief.", max_output_tokens=5, metadata={"a": "b"}
    )
    assert answer.output_text == text(5)
    assert (answer.status, answer.metadata, answer.service_tier) == ("completed", {"a": "b"}, "default")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 5)
    again = await cluster.openai.responses.create(model=MODEL, input=[*answer.output, {"role": "user", "content": "?"}])
    assert again.output_text == text(5)
    assert b'"assistant"' in cluster.worker.starts[1].chat.messages_json
    await cluster.idle()


async def test_streamed(cluster: Cluster) -> None:
    async with cluster.openai.responses.stream(model=MODEL, input="Count.") as stream:
        said = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(said) == final.output_text == text(5)
    assert final.id.startswith("resp_")
    await cluster.idle()


async def test_function_calls(cluster: Cluster) -> None:
    def speak(delta: worker_pb2.Delta) -> None:
        first = delta.token_ids[0] == 0
        name = {"id": "call_1", "name": "look"} if first else {}
        delta.text = ""
        delta.tool_calls.add(arguments="{" if first else "}", **name)

    cluster.worker.behaviour.tokens, cluster.worker.behaviour.delta = 2, speak
    async with cluster.openai.responses.stream(model=MODEL, input="Look.", tools=[TOOL]) as stream:
        kinds = [event.type async for event in stream]
        [call] = (await stream.get_final_response()).output
    assert (call.type, call.call_id, call.name, call.arguments) == ("function_call", "call_1", "look", "{}")
    assert "response.function_call_arguments.done" in kinds


async def test_a_conversation_is_continued(storing: Cluster) -> None:
    responses = storing.openai.responses
    first = await responses.create(model=MODEL, input="Count.", instructions="Be brief.")
    assert first.store
    assert (await responses.retrieve(first.id)).model_dump() == first.model_dump()
    async with responses.stream(model=MODEL, input="More.", previous_response_id=first.id) as stream:
        second = await stream.get_final_response()
    assert second.previous_response_id == first.id
    third = await responses.create(
        model=MODEL, input=[{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "Why?"}]
    )
    turns = [orjson.loads(start.chat.messages_json) for start in storing.worker.starts]
    said, asked = {"role": "assistant", "content": text(5)}, {"role": "user", "content": "Count."}
    assert turns[1] == [asked, said, {"role": "user", "content": "More."}]
    assert turns[2] == [said, {"role": "user", "content": "Why?"}]
    items = await responses.input_items.list(third.id)
    assert [item.content[0].text for item in items.data] == ["Why?", text(5)]
    assert not items.has_more
    page = [item.id async for item in responses.input_items.list(third.id, limit=1, order="asc")]
    assert page == [item.id for item in reversed(items.data)]
    await responses.delete(first.id)
    for ask in (responses.retrieve, responses.delete, responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            await ask(first.id)
    with pytest.raises(openai.BadRequestError, match="deleted or has expired") as refused:
        await responses.create(model=MODEL, input="x", previous_response_id=second.id)
    assert refused.value.code == "previous_response_not_found"
    with pytest.raises(openai.NotFoundError):
        await responses.create(model=MODEL, input=[{"type": "item_reference", "id": first.output[0].id}])
    await storing.idle()


async def test_what_is_not_to_be_stored_is_not(storing: Cluster) -> None:
    answer = await storing.openai.responses.create(model=MODEL, input="Count.", store=False)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        await storing.openai.responses.retrieve(answer.id)
    for garbage in ("resp_1", "x" * 500, "%00", "..%2Fmodels"):
        refused = await storing.http.get(f"/v1/responses/{garbage}")
        assert refused.status_code in (400, 404), garbage


async def test_a_client_that_leaves_ends_its_response(storing: Cluster) -> None:
    storing.worker.behaviour.hang_after = 2
    body = {"model": MODEL, "input": "Count.", "stream": True}
    async with storing.http.stream("POST", "/v1/responses", json=body) as response:
        lines = response.aiter_lines()
        [created] = [orjson.loads(line[6:]) async for line in first_data(lines)]
        async for line in lines:
            if "output_text.delta" in line:
                break

    async def cancelled() -> bool:
        found = await storing.http.get(f"/v1/responses/{created['response']['id']}")
        return bool(found.json().get("status") == "cancelled")

    await wait_until(cancelled, description="the response is cancelled")
    await storing.idle()


async def test_a_response_whose_worker_fails_has_failed(storing: Cluster) -> None:
    storing.worker.behaviour.hang_after = 2
    body = {"model": MODEL, "input": "Count.", "stream": True}
    async with storing.http.stream("POST", "/v1/responses", json=body) as response:
        lines = response.aiter_lines()
        [created] = [orjson.loads(line[6:]) async for line in first_data(lines)]
        await storing.worker.stop()
        async for line in lines:
            if line.startswith("event: response.failed"):
                break
    found = (await storing.http.get(f"/v1/responses/{created['response']['id']}")).json()
    assert (found["status"], found["error"]["code"]) == ("failed", "server_error")


async def test_an_answer_comes_even_if_it_cannot_be_stored(storing: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: object) -> None:
        raise DatabaseAway("gone")

    monkeypatch.setattr(storing.gateway.accounting.responses, "add", away)
    answer = await storing.openai.responses.create(model=MODEL, input="Count.")
    assert (answer.output_text, answer.store) == (text(5), False)


async def test_an_operator_may_want_nothing_to_be_stored(start: Started, router: FakeRouter) -> None:
    gateway: GatewayApp = await start(GatewayApp(settings(router.address, responses_stored=False), random=Random(1)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    async with client_of(gateway) as client:
        answer = await client.responses.create(model=MODEL, input="Count.")
        assert answer.store is False
        for field in ({"store": True}, {"previous_response_id": answer.id}, {"background": True}):
            with pytest.raises(openai.BadRequestError, match="not stored here") as refused:
                await client.responses.create(model=MODEL, input="x", **field)
            assert refused.value.param in field
        with pytest.raises(openai.APIStatusError, match="not stored here"):
            await client.responses.retrieve(answer.id)


async def first_data(lines: AsyncIterator[str]) -> AsyncIterator[str]:
    """The data of the first event."""
    async for line in lines:
        if line.startswith("data: "):
            yield line
            return


async def answers(client: Cluster, response_id: str, status: str) -> Any:
    """Waits until a background response has a status."""

    async def ended() -> bool:
        return bool((await client.openai.responses.retrieve(response_id)).status == status)

    await wait_until(ended, description=f"the response is {status}", timeout=30)
    return await client.openai.responses.retrieve(response_id)


async def test_a_response_in_the_background(storing: Cluster) -> None:
    begun = await storing.openai.responses.create(model=MODEL, input="Count.", background=True)
    assert (begun.status, begun.background, begun.output, begun.store) == ("queued", True, [], True)
    done = await answers(storing, begun.id, "completed")
    assert (done.output_text, done.usage.output_tokens, done.background) == (text(5), 5, True)
    again = await storing.openai.responses.cancel(begun.id)
    assert again.model_dump() == done.model_dump()
    await storing.openai.responses.create(model=MODEL, input="More.", previous_response_id=begun.id)
    await storing.idle()


async def test_a_background_response_is_cancelled_once(storing: Cluster) -> None:
    storing.worker.behaviour.hang_after = 2
    responses = storing.openai.responses
    begun = await responses.create(model=MODEL, input="Count.", background=True)
    await answers(storing, begun.id, "in_progress")
    with pytest.raises(openai.BadRequestError, match="has not ended"):
        await responses.create(model=MODEL, input="x", previous_response_id=begun.id)
    cancelled = await asyncio.gather(*(responses.cancel(begun.id) for _ in range(3)))
    assert [one.status for one in cancelled] == ["cancelled"] * 3
    await storing.idle()
    assert (await responses.retrieve(begun.id)).status == "cancelled"


async def test_a_background_response_that_is_deleted_is_made_no_more(storing: Cluster) -> None:
    storing.worker.behaviour.hang_after = 2
    begun = await storing.openai.responses.create(model=MODEL, input="Count.", background=True)
    await answers(storing, begun.id, "in_progress")
    await storing.openai.responses.delete(begun.id)
    await storing.idle()
    for ask in (storing.openai.responses.retrieve, storing.openai.responses.cancel):
        with pytest.raises(openai.NotFoundError):
            await ask(begun.id)


async def test_a_background_response_that_is_sent_again_is_made_once(storing: Cluster) -> None:
    body, key = {"model": MODEL, "input": "Count.", "background": True}, {"idempotency-key": "k"}
    first, again = [(await storing.http.post("/v1/responses", json=body, headers=key)).json() for _ in range(2)]
    assert first["id"] == again["id"]
    await answers(storing, first["id"], "completed")
    assert len(storing.worker.starts) == 1


async def test_a_background_response_that_fails_says_why(storing: Cluster) -> None:
    storing.worker.behaviour.refuse = worker_pb2.FAILURE_KIND_INVALID
    begun = await storing.openai.responses.create(model=MODEL, input="Count.", background=True)
    assert (await answers(storing, begun.id, "failed")).error.message


async def test_a_gateway_that_stops_leaves_no_response_open(
    router: FakeRouter, worker: FakeWorker, data_dir: Path
) -> None:
    worker.behaviour.hang_after = 2
    gateway = GatewayApp(settings(router.address, drain_s=0), random=Random(1))
    await gateway.start()
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    async with client_of(gateway) as client:
        response_id = ""

        async def begun() -> bool:
            nonlocal response_id
            try:
                response_id = (await client.responses.create(model=MODEL, input="Count.", background=True)).id
            except openai.APIStatusError:
                return False
            return True

        await wait_until(begun, description="the database has been reached", timeout=60)
        await wait_until(lambda: worker.starts, description="the worker has it")
    await gateway.stop()
    with closing(sqlite3.connect(data_dir / "gateway.sqlite3")) as database:
        assert database.execute("select id, status from responses").fetchall() == [(response_id, "failed")]


async def test_compaction_is_an_unknown_url_not_a_response_of_that_name(cluster: Cluster) -> None:
    refused = await cluster.http.post("/v1/responses/compact", json={"model": MODEL, "input": "x"})
    assert refused.status_code == 404
    assert "not compacted here" in refused.json()["error"]["message"]
