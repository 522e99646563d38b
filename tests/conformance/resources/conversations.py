"""`/v1/conversations`, and responses that continue them."""

from typing import Any

from tests.conformance.api import Api, error_object, expect, same

PATH = "/v1/conversations"
UNKNOWN = f"{PATH}/conv_{'0' * 32}"
NAMED = {"type": "message", "role": "user", "content": "My name is Ada."}
ASKED = {"type": "message", "role": "user", "content": "What is my name?"}


async def made(api: Api) -> None:
    """A conversation has an id, the time when it was made, and its labels; it is shown as it was made."""
    conversation = await _made(api, metadata={"topic": "tides"})
    expect(conversation["id"].startswith("conv_"), f"the id is {conversation['id']}")
    same((conversation["object"], conversation["metadata"]), ("conversation", {"topic": "tides"}), "the conversation")
    expect(isinstance(conversation["created_at"], int), f"created_at is {conversation['created_at']!r}")
    same(await api.get(_path(conversation)), conversation, "what is shown")


async def begun_with_items(api: Api) -> None:
    """A conversation may have items from the beginning."""
    items = await _items(api, await _made(api, items=[NAMED, ASKED]))
    same([_text(item) for item in items], [NAMED["content"], ASKED["content"]], "the texts")


async def relabelled(api: Api) -> None:
    """An update replaces the labels."""
    conversation = await _made(api, metadata={"topic": "tides"})
    changed = await api.post(_path(conversation), model=None, metadata={"place": "Brest"})
    same((changed["id"], changed["metadata"]), (conversation["id"], {"place": "Brest"}), "id and labels")
    same((await api.get(_path(conversation)))["metadata"], {"place": "Brest"}, "the labels")


async def deleted(api: Api) -> None:
    """A conversation that was deleted is not found, and neither are its items."""
    conversation = await _made(api, items=[NAMED])
    answer = (await api.send("DELETE", _path(conversation))).json()
    wanted = {"id": conversation["id"], "object": "conversation.deleted", "deleted": True}
    same({name: answer.get(name) for name in wanted}, wanted, "the answer")
    for path in (_path(conversation), f"{_path(conversation)}/items"):
        _not_found(api, await api.send("GET", path))


async def unknown_conversations(api: Api) -> None:
    """An unknown conversation is a 404 with an error object, whatever is asked of it."""
    body: dict[str, Any] = {"metadata": {}, "items": [NAMED]}
    await _made(api)
    for method, path in (("GET", UNKNOWN), ("DELETE", UNKNOWN), ("GET", f"{UNKNOWN}/items")):
        _not_found(api, await api.send(method, path))
    for path in (UNKNOWN, f"{UNKNOWN}/items"):
        _not_found(api, await api.send("POST", path, json=body))


async def items_are_added(api: Api) -> None:
    """Items are added at the end; the answer lists them, each with its id."""
    conversation = await _made(api, items=[NAMED])
    added = await api.post(f"{_path(conversation)}/items", model=None, items=[ASKED])
    same((added["object"], [_text(item) for item in added["data"]]), ("list", [ASKED["content"]]), "the answer")
    same((await _items(api, conversation))[-1]["id"], added["data"][0]["id"], "the last item")


async def items_come_in_pages(api: Api) -> None:
    """A list begins with the last item; `order`, `limit` and `after` choose; `has_more` says whether more follow."""
    path = f"{_path(await _made(api, items=[NAMED, ASKED, NAMED]))}/items"
    newest = await api.get(path)
    same((len(newest["data"]), newest["has_more"]), (3, False), "the whole list")
    first = await api.get(f"{path}?limit=2")
    same((first["data"], first["has_more"]), (newest["data"][:2], True), "the first page")
    same((first["first_id"], first["last_id"]), (newest["data"][0]["id"], newest["data"][1]["id"]), "its ends")
    rest = await api.get(f"{path}?limit=2&after={first['last_id']}")
    same((rest["data"], rest["has_more"]), (newest["data"][2:], False), "the second page")
    same((await api.get(f"{path}?order=asc"))["data"], newest["data"][::-1], "the other order")
    _not_found(api, await api.send("GET", f"{path}?after=msg_unknown"))


async def items_are_shown_and_deleted(api: Api) -> None:
    """One item is shown by its id, and deleted; the answer is then the conversation."""
    conversation = await _made(api, items=[NAMED, ASKED])
    first, second = await _items(api, conversation)
    path = f"{_path(conversation)}/items/{first['id']}"
    same(await api.get(path), first, "the item")
    same((await api.send("DELETE", path)).json()["id"], conversation["id"], "the id in the answer")
    _not_found(api, await api.send("GET", path))
    same(await _items(api, conversation), [second], "what is left")


async def no_items(api: Api) -> None:
    """Adding needs items."""
    path = f"{_path(await _made(api))}/items"
    answer = await api.send("POST", path, json={})
    same((answer.status_code, error_object(answer)["param"]), (400, "items"), "status and param")


async def responses_continue_and_add(api: Api) -> None:
    """A response reads the items before its input; then its input and its answer are items too."""
    conversation = await _made(api, items=[NAMED])
    alone = await api.respond("What is my name?")
    response = await api.respond("What is my name?", conversation=conversation["id"])
    expect(response["usage"]["input_tokens"] > alone["usage"]["input_tokens"], "the items were not read")
    same(response["conversation"], {"id": conversation["id"]}, "conversation")
    items = await _items(api, conversation)
    same([item["role"] for item in items], ["user", "user", "assistant"], "the roles")
    same(_text(items[2]), _text(response["output"][-1]), "the answer in the conversation")
    await api.respond("And yours?", conversation={"id": conversation["id"]})
    same(len(await _items(api, conversation)), 5, "the number of items")


async def streams_add(api: Api) -> None:
    """The turn of a streamed response is in the conversation when the stream ends."""
    conversation = await _made(api)
    asked = {"input": "What is my name?", "max_output_tokens": 16, "conversation": conversation["id"]}
    last = [event.data for event in await api.events("/v1/responses", **asked) if event.data != "[DONE]"][-1]
    items = await _items(api, conversation)
    same([item["role"] for item in items], ["user", "assistant"], "the roles")
    same(_text(items[1]), _text(last["response"]["output"][-1]), "the answer in the conversation")


async def not_with_a_previous_response(api: Api) -> None:
    """`conversation` and `previous_response_id` together are refused, and so is an unknown conversation."""
    conversation, response = await _made(api), await api.respond(store=True)
    both = {"conversation": conversation["id"], "previous_response_id": response["id"]}
    await api.refused("/v1/responses", input="Hi.", **both)
    await api.refused("/v1/responses", input="Hi.", conversation=UNKNOWN.rpartition("/")[2], statuses=(400, 404))


async def _made(api: Api, **fields: Any) -> Any:
    return await api.post(PATH, model=None, **fields)


def _path(conversation: Any) -> str:
    return f"{PATH}/{conversation['id']}"


async def _items(api: Api, conversation: Any) -> list[Any]:
    return list((await api.get(f"{_path(conversation)}/items?order=asc&limit=100"))["data"])


def _text(item: Any) -> str:
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def _not_found(api: Api, answer: Any) -> None:
    api.error(answer, 404)
