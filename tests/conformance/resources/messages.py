"""`/v1/messages`, Anthropic's API."""

from typing import Any

import orjson

from tests.conformance.api import WEATHER, Api, expect, message, same

TOOL: dict[str, Any] = {"name": "weather", "input_schema": WEATHER}
FORCED: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "weather"}, "max_tokens": 100}


async def answers(api: Api) -> None:
    """A message has an id, a role, content, a reason to stop, and token counts."""
    found = await api.message()
    same((found["type"], found["role"]), ("message", "assistant"), "type and role")
    expect(found["content"][0]["type"] == "text" and bool(found["content"][0]["text"]), "there is no text")
    expect(found["stop_reason"] in ("end_turn", "max_tokens"), f"stop_reason is {found['stop_reason']}")
    expect(found["usage"]["input_tokens"] > 0 and found["usage"]["output_tokens"] > 0, f"{found['usage']}")


async def ids_begin_with_msg(api: Api) -> None:
    """The id of a message begins with `msg_`."""
    found = (await api.message())["id"]
    expect(found.startswith("msg_"), f"the id is {found}")


async def system(api: Api) -> None:
    """A system prompt may be a text or a list of blocks."""
    await api.message(system="Be brief.")
    await api.message(system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}])


async def turns(api: Api) -> None:
    """Earlier turns may follow each other, with content as a text or as blocks."""
    await api.message(
        messages=[
            {"role": "user", "content": "My name is Ada."},
            {"role": "assistant", "content": [{"type": "text", "text": "Hello, Ada."}]},
            {"role": "user", "content": [{"type": "text", "text": "What is my name?"}]},
        ]
    )


async def ends_at_the_limit(api: Api) -> None:
    """A message that reaches `max_tokens` says so."""
    found = await api.message(max_tokens=2)
    same((found["stop_reason"], found["usage"]["output_tokens"]), ("max_tokens", 2), "stop_reason and output_tokens")


async def stops(api: Api) -> None:
    """A string of `stop_sequences` ends the message, and is named."""
    text = (await api.message())["content"][0]["text"]
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    found = await api.message(stop_sequences=[stop])
    same((found["stop_reason"], found["stop_sequence"]), ("stop_sequence", stop), "reason and sequence")


async def streams(api: Api) -> None:
    """A stream has Anthropic's events in their order, and its deltas join to the text."""
    whole = (await api.message())["content"][0]["text"]
    events = await api.events("/v1/messages", **message("Where does the tide go?", {}))
    names = [event.data["type"] for event in events if event.data["type"] != "ping"]
    same(names[:2], ["message_start", "content_block_start"], "the first events")
    same(names[-3:], ["content_block_stop", "message_delta", "message_stop"], "the last events")
    same([event.name for event in events], [event.data["type"] for event in events], "the names")
    deltas = [event.data["delta"]["text"] for event in events if event.data["type"] == "content_block_delta"]
    same("".join(deltas), whole, "the joined text")
    [delta] = [event.data for event in events if event.data["type"] == "message_delta"]
    expect(delta["usage"]["output_tokens"] > 0, "the last counts have no output")


async def forced_calls(api: Api) -> None:
    """A named tool is used with valid input."""
    found = await api.message(**FORCED)
    [use] = [block for block in found["content"] if block["type"] == "tool_use"]
    same((use["name"], use["input"], found["stop_reason"]), ("weather", {"city": "Brest"}, "tool_use"), "the use")


async def forced_calls_streamed(api: Api) -> None:
    """The parts of a streamed tool use join to its input."""
    events = await api.events("/v1/messages", **message("How is the weather?", FORCED))
    deltas = [event.data["delta"] for event in events if event.data["type"] == "content_block_delta"]
    joined = "".join(delta["partial_json"] for delta in deltas if delta["type"] == "input_json_delta")
    same(orjson.loads(joined), {"city": "Brest"}, "the input")


async def results_of_calls(api: Api) -> None:
    """The result of a tool may be a text or blocks."""
    use = {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Brest"}}
    for content in ("It rains.", [{"type": "text", "text": "It rains."}]):
        result = {"type": "tool_result", "tool_use_id": "toolu_1", "content": content}
        await api.message(
            messages=[
                {"role": "user", "content": "How is the weather?"},
                {"role": "assistant", "content": [use]},
                {"role": "user", "content": [result]},
            ],
            tools=[TOOL],
        )


async def thinking_of_before(api: Api) -> None:
    """Thinking blocks of earlier turns may be sent back."""
    blocks = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Out."}]
    asked = {"role": "user", "content": "Where does the tide go?"}
    await api.message(messages=[asked, {"role": "assistant", "content": blocks}, asked])


async def hosted_tools(api: Api) -> None:
    """A tool of Anthropic's own is left out."""
    await api.message(tools=[{"type": "web_search_20250305", "name": "web_search"}, TOOL])


async def counts_tokens(api: Api) -> None:
    """`count_tokens` says how many tokens a message has, as the message itself does."""
    asked = {"messages": [{"role": "user", "content": "Where does the tide go?"}]}
    counted = (await api.post("/v1/messages/count_tokens", **asked))["input_tokens"]
    usage = (await api.message())["usage"]
    same(counted, usage["input_tokens"] + (usage.get("cache_read_input_tokens") or 0), "input_tokens")


async def max_tokens_is_needed(api: Api) -> None:
    """`max_tokens` must be there, as with Anthropic."""
    error = await api.refused("/v1/messages", messages=[{"role": "user", "content": "Hi."}])
    expect("max_tokens" in error["message"], error["message"])


async def errors(api: Api) -> None:
    """An error has Anthropic's shape."""
    body = {"model": api.target.model, "max_tokens": 5, "messages": []}
    answer = await api.send("POST", "/v1/messages", json=body)
    same(answer.status_code, 400, "the status")
    document = answer.json()
    same((document["type"], document["error"]["type"]), ("error", "invalid_request_error"), "the types")


async def begun_answers(api: Api) -> None:
    """An answer that the client has begun is continued."""
    turns = [{"role": "user", "content": "Count."}, {"role": "assistant", "content": "One, two,"}]
    expect(bool((await api.message(messages=turns))["content"]), "there is no content")
