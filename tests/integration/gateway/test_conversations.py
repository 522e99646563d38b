"""The Conversations API, and responses that belong to conversations, as the real openai client reads them."""

import asyncio
from random import Random
from typing import Any

import openai
import orjson
import pytest

from services.gateway.app import GatewayApp
from services.gateway.database.engine import DatabaseAway
from tests.integration.gateway.conftest import ADMIN_KEY, Cluster, Started, client_of, settings
from tests.support.fakes import MODEL, FakeRouter, text
from tests.support.wait import wait_until
from tidegate.worker.v1 import worker_pb2

NOBODY = "conv_" + "0" * 32
COUNT = {"role": "user", "content": "Count."}
SAID = {"role": "assistant", "content": text(5)}
TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "Nothing."}


def asked(storing: Cluster) -> list[Any]:
    """The chat that the worker was last asked to continue."""
    turns: list[Any] = orjson.loads(storing.worker.starts[-1].chat.messages_json)
    return turns


async def listed(storing: Cluster, conversation: Any) -> list[str]:
    """The texts of all items, the oldest first."""
    items = storing.openai.conversations.items.list(conversation.id, order="asc")
    return [part.text async for item in items for part in item.content]


async def refusal(answer: Any) -> tuple[int, Any, Any]:
    with pytest.raises(openai.APIStatusError) as refused:
        await answer
    return refused.value.status_code, refused.value.param, refused.value.code


async def test_a_conversation_from_its_beginning_to_its_end(storing: Cluster) -> None:
    conversations = storing.openai.conversations
    made = await conversations.create(metadata={"topic": "tides"}, items=[COUNT])
    assert made.id.startswith("conv_")
    assert (made.object, made.metadata) == ("conversation", {"topic": "tides"})
    assert (await conversations.retrieve(made.id)).model_dump() == made.model_dump()
    changed = await conversations.update(made.id, metadata={"topic": "the moon"})
    assert (changed.metadata, changed.created_at) == ({"topic": "the moon"}, made.created_at)
    assert (await conversations.update(made.id, metadata=None)).metadata == {}
    gone = await conversations.delete(made.id)
    assert (gone.id, gone.object, gone.deleted) == (made.id, "conversation.deleted", True)
    for ask in (conversations.retrieve, conversations.delete, conversations.items.list):
        assert await refusal(ask(made.id)) == (404, "conversation_id", "not_found")
    plain = await conversations.create()
    assert plain.metadata == {}
    empty = await conversations.items.list(plain.id)
    assert (empty.data, empty.has_more) == ([], False)


async def test_items_are_added_listed_and_deleted(storing: Cluster) -> None:
    conversations = storing.openai.conversations
    made = await conversations.create()
    added = await conversations.items.create(
        made.id,
        items=[
            {"id": "msg_mine", **COUNT},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": "{}"},
            OUTPUT,
        ],
        include=["message.output_text.logprobs"],
    )
    message, call, output = added.data
    assert (message.role, message.status, message.content[0].text) == ("user", "completed", "Count.")
    assert message.id != "msg_mine"  # No two items of a conversation have the same id.
    assert (call.name, output.output, added.has_more) == ("look", "Nothing.", False)
    ids = [message.id, call.id, output.id]
    assert (added.first_id, added.last_id) == (ids[0], ids[2])
    newest = await conversations.items.list(made.id, limit=2)
    assert ([item.id for item in newest.data], newest.has_more) == ([ids[2], ids[1]], True)
    assert [item.id async for item in conversations.items.list(made.id, limit=1, order="asc")] == ids
    rest = await conversations.items.list(made.id, order="asc", after=ids[0])
    assert [item.id for item in rest.data] == ids[1:]
    found = await conversations.items.retrieve(ids[1], conversation_id=made.id)
    assert found.model_dump() == call.model_dump()
    assert (await conversations.items.delete(ids[1], conversation_id=made.id)).id == made.id
    assert [item.id async for item in conversations.items.list(made.id, order="asc")] == [ids[0], ids[2]]
    gone = conversations.items.retrieve(ids[1], conversation_id=made.id)
    assert await refusal(gone) == (404, "item_id", "not_found")
    assert await refusal(conversations.items.list(made.id, after=ids[1])) == (404, "after", "not_found")
    # An output that answers no call is found when a model is to read it, and the error says which item it is.
    with pytest.raises(openai.BadRequestError, match=f"'{ids[2]}' of the conversation answers no call") as refused:
        await storing.openai.responses.create(model=MODEL, input="Go on.", conversation=made.id)
    assert refused.value.param == "conversation"


async def test_what_is_wrong_is_named(storing: Cluster) -> None:
    conversations = storing.openai.conversations
    made = await conversations.create()
    for body, param in (
        ({"metadata": {"a": 5}}, "metadata.a"),
        ({"metadata": {str(number): "" for number in range(17)}}, "metadata"),
        ({"items": "Count."}, "items"),
        ({"items": [[]]}, "items[0]"),
        ({"items": [{"role": "wizard", "content": "x"}]}, "items[0].role"),
        ({"items": [COUNT, {"type": "item_reference", "id": "x"}]}, "items[1].id"),
        ({"items": [{"type": "item_reference", "id": f"msg_{'0' * 32}01"}]}, "items[0].id"),
    ):
        status, named, _ = await refusal(conversations.create(**body))
        assert (status in (400, 404), named) == (True, param)
        if "items" in body:
            assert (await refusal(conversations.items.create(made.id, **body)))[1] == param
    assert await refusal(conversations.items.create(made.id, items=[])) == (400, "items", "invalid_value")
    assert (await storing.http.post(f"/v1/conversations/{made.id}", json={})).json()["error"]["param"] == "metadata"
    for query, param in ({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"order": "up"}, "order"):
        refused = await storing.http.get(f"/v1/conversations/{made.id}/items", params=query)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)
    for garbage in ("conv_1", "x" * 500, "%00", "..%2Fmodels"):
        for path in (garbage, f"{garbage}/items", f"{garbage}/items/{garbage}", f"{made.id}/items/{garbage}"):
            assert (await storing.http.get(f"/v1/conversations/{path}")).status_code == 404, path
    assert await listed(storing, made) == []


async def test_items_of_tools_that_nobody_serves_are_left_out_and_named(storing: Cluster) -> None:
    raw = await storing.openai.conversations.with_raw_response.create(
        items=[{"type": "web_search_call", "id": "ws_1", "status": "completed"}, COUNT]
    )
    assert raw.headers["x-tidegate-ignored"] == "items[0]"
    assert await listed(storing, raw.parse()) == ["Count."]


async def test_responses_go_on_in_a_conversation(storing: Cluster) -> None:
    responses, conversations = storing.openai.responses, storing.openai.conversations
    made = await conversations.create(items=[{"role": "user", "content": "Hello."}])
    hello = {"role": "user", "content": "Hello."}
    first = await responses.create(
        model=MODEL, input="Count.", conversation=made.id, instructions="Be brief.", metadata={"a": "b"}
    )
    assert (first.conversation.id, first.store) == (made.id, True)
    assert asked(storing) == [{"role": "system", "content": "Be brief."}, hello, COUNT]
    async with responses.stream(model=MODEL, input="More.", conversation={"id": made.id}) as stream:
        second = await stream.get_final_response()
    assert second.conversation.id == made.id
    more = {"role": "user", "content": "More."}
    assert asked(storing) == [hello, COUNT, SAID, more]
    assert await listed(storing, made) == ["Hello.", "Count.", text(5), "More.", text(5)]
    # Items of responses have the same ids here and there, and can be referred to.
    [sent] = (await responses.input_items.list(second.id)).data
    items = [item.id async for item in conversations.items.list(made.id, order="asc")]
    assert items[3:] == [sent.id, second.output[0].id]
    await responses.create(
        model=MODEL, input=[{"type": "item_reference", "id": items[0]}, more], conversation=made.id, background=True
    )

    async def seven() -> bool:
        return len(await listed(storing, made)) == 8

    await wait_until(seven, description="the response in the background has added its turn", timeout=30)
    assert asked(storing) == [hello, COUNT, SAID, more, SAID, hello, more]
    await conversations.delete(made.id)
    assert (await responses.retrieve(second.id)).conversation.id == made.id
    answer = responses.create(model=MODEL, input="x", conversation=made.id)
    assert await refusal(answer) == (404, "conversation", "not_found")
    await storing.idle()


async def test_a_response_that_is_repeated_unchanged_gets_new_ids(storing: Cluster) -> None:
    """As clients do that know nothing of conversations: they send back all that there is."""
    made = await storing.openai.conversations.create()
    first = await storing.openai.responses.create(model=MODEL, input="Count.", conversation=made.id)
    again = [item.model_dump(exclude_none=True) for item in first.output]
    await storing.openai.responses.create(model=MODEL, input=[*again, COUNT], conversation=made.id)
    assert await listed(storing, made) == ["Count.", text(5), text(5), "Count.", text(5)]


async def test_calls_are_answered_in_a_conversation(storing: Cluster) -> None:
    def speak(delta: worker_pb2.Delta) -> None:
        delta.text = ""
        delta.tool_calls.add(id="call_1", name="look", arguments="{}")

    made = await storing.openai.conversations.create()
    storing.worker.behaviour.tokens, storing.worker.behaviour.delta = 1, speak
    responses: Any = storing.openai.responses
    first = await responses.create(model=MODEL, input="Look.", tools=[TOOL], conversation=made.id)
    assert [item.type for item in first.output] == ["function_call"]
    await responses.create(model=MODEL, input=[OUTPUT], tools=[TOOL], conversation=made.id)
    assert [turn["role"] for turn in asked(storing)] == ["user", "assistant", "tool"]
    wrong = {**OUTPUT, "call_id": "call_2"}
    for continues in ({"conversation": made.id}, {"previous_response_id": first.id}):
        # Once, the error named the item's place in the whole conversation, which the client does not see.
        answer = responses.create(model=MODEL, input=[OUTPUT, wrong], tools=[TOOL], **continues)
        assert await refusal(answer) == (400, "input[1].call_id", "invalid_value")


async def test_only_answers_are_added(storing: Cluster) -> None:
    made = await storing.openai.conversations.create()
    storing.worker.behaviour.hang_after = 2
    body = {"model": MODEL, "input": "Count.", "stream": True, "conversation": made.id}
    async with storing.http.stream("POST", "/v1/responses", json=body) as response:
        async for line in response.aiter_lines():
            if line.startswith("data: ") and "response.created" in line:
                response_id = orjson.loads(line[6:])["response"]["id"]
            if "output_text.delta" in line:
                break

    async def cancelled() -> bool:
        return bool((await storing.openai.responses.retrieve(response_id)).status == "cancelled")

    await wait_until(lambda: storing.router.finishes, description="the client's leaving was noticed")
    await wait_until(cancelled, description="the response is cancelled", timeout=30)
    assert await listed(storing, made) == []
    await storing.idle()


async def test_responses_at_once_do_not_mix(storing: Cluster) -> None:
    made = await storing.openai.conversations.create()
    create = storing.openai.responses.create
    await asyncio.gather(*(create(model=MODEL, input=f"{number}", conversation=made.id) for number in range(6)))
    texts = await listed(storing, made)
    assert sorted(texts[::2]) == [f"{number}" for number in range(6)]
    assert texts[1::2] == [text(5)] * 6


async def test_an_answer_that_cannot_be_kept_is_not_added(storing: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise DatabaseAway("gone")

    made = await storing.openai.conversations.create()
    store = storing.gateway.accounting.responses
    assert store
    monkeypatch.setattr(store.conversations, "append", away)
    answer = await storing.openai.responses.create(model=MODEL, input="Count.", conversation=made.id)
    assert (answer.output_text, answer.store) == (text(5), False)
    assert (await refusal(storing.openai.responses.retrieve(answer.id)))[0] == 404
    assert await listed(storing, made) == []


async def test_tenants_have_conversations_of_their_own(storing: Cluster) -> None:
    made = await storing.openai.conversations.create(items=[COUNT])
    [item] = (await storing.openai.conversations.items.list(made.id)).data
    admin = {"authorization": f"Bearer {ADMIN_KEY}"}
    tenant = {"name": "other", "weight": 1.0, "tiers": ["default"]}
    assert (await storing.http.post("/v1/admin/tenants", json=tenant, headers=admin)).status_code == 200
    minted = await storing.http.post("/v1/admin/keys", json={"name": "theirs", "tenant": "other"}, headers=admin)
    async with client_of(storing.gateway, minted.json()["key"]) as other:
        conversations = other.conversations
        for asking in (
            conversations.retrieve(made.id),
            conversations.update(made.id, metadata={}),
            conversations.delete(made.id),
            conversations.items.list(made.id),
            conversations.items.create(made.id, items=[COUNT]),
            conversations.items.retrieve(item.id, conversation_id=made.id),
            conversations.items.delete(item.id, conversation_id=made.id),
            other.responses.create(model=MODEL, input="x", conversation=made.id),
        ):
            assert (await refusal(asking))[0] == 404
    assert await listed(storing, made) == ["Count."]


async def test_an_operator_may_want_nothing_to_be_stored(start: Started, router: FakeRouter) -> None:
    gateway: GatewayApp = await start(GatewayApp(settings(router.address, responses_stored=False), random=Random(1)))
    await wait_until(lambda: gateway.ready() is None, description="the gateway is ready")
    async with client_of(gateway) as client:
        for asking in (
            client.conversations.create(items=[COUNT]),
            client.conversations.retrieve(NOBODY),
            client.conversations.items.create(NOBODY, items=[COUNT]),
        ):
            assert await refusal(asking) == (501, None, "not_configured")
        answer = client.responses.create(model=MODEL, input="x", conversation=NOBODY)
        assert await refusal(answer) == (400, "conversation", "responses_not_stored")
