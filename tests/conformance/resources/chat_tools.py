"""Tools of chat completions."""

from typing import Any

import orjson

from tests.conformance.api import WEATHER, Api, expect, function, named, same

FORCED: dict[str, Any] = {"tools": [function()], "max_tokens": 100}


def _call(choice: Any) -> Any:
    [call] = choice["message"]["tool_calls"]
    expect(bool(call["id"]), "the call has no id")
    same((call["type"], call["function"]["name"]), ("function", "weather"), "type and name")
    return orjson.loads(call["function"]["arguments"])


async def named_function(api: Api) -> None:
    """A named function is called, with arguments that are valid under its schema."""
    [choice] = (await api.chat(**FORCED, tool_choice=named()))["choices"]
    same(_call(choice), {"city": "Brest"}, "the arguments")
    expect(choice["message"]["content"] in (None, ""), f"there is a text: {choice['message']['content']!r}")


async def named_function_ends_as_a_call(api: Api) -> None:
    """A call of a named function ends with `tool_calls`."""
    [choice] = (await api.chat(**FORCED, tool_choice=named()))["choices"]
    same(choice["finish_reason"], "tool_calls", "finish_reason")


async def required(api: Api) -> None:
    """`required` gives at least one call with valid arguments, and ends with `tool_calls`."""
    [choice] = (await api.chat(**FORCED, tool_choice="required"))["choices"]
    calls = choice["message"]["tool_calls"]
    expect(bool(calls), "there is no call")
    for call in calls:
        same(orjson.loads(call["function"]["arguments"]), {"city": "Brest"}, "the arguments")
    same(choice["finish_reason"], "tool_calls", "finish_reason")


async def one_call_at_a_time(api: Api) -> None:
    """With `parallel_tool_calls: false` there is at most one call."""
    [choice] = (await api.chat(**FORCED, tool_choice="required", parallel_tool_calls=False))["choices"]
    _call(choice)


async def streamed(api: Api) -> None:
    """A streamed call names id and function once, and its parts join to valid arguments."""
    parts = [
        part
        for chunk in await api.chat_chunks(**FORCED, tool_choice=named())
        for choice in chunk["choices"]
        for part in choice["delta"].get("tool_calls") or ()
    ]
    same([part["function"]["name"] for part in parts if part["function"].get("name")], ["weather"], "the names")
    same({part["index"] for part in parts}, {0}, "the index")
    arguments = "".join(part["function"].get("arguments") or "" for part in parts)
    same(orjson.loads(arguments), {"city": "Brest"}, "the arguments")


async def none(api: Api) -> None:
    """`none` gives no call."""
    [choice] = (await api.chat(tools=[function()], tool_choice="none"))["choices"]
    expect(not choice["message"].get("tool_calls"), "there is a call")


async def auto(api: Api) -> None:
    """Tools may be offered without a choice."""
    await api.chat(tools=[function()])


async def round_trip(api: Api) -> None:
    """The result of a call may follow it."""
    [choice] = (await api.chat(**FORCED, tool_choice=named()))["choices"]
    result = {"role": "tool", "tool_call_id": choice["message"]["tool_calls"][0]["id"], "content": "It rains."}
    asked = {"role": "user", "content": "How is the weather?"}
    await api.chat(messages=[asked, choice["message"], result], tools=[function()])


async def results_as_parts(api: Api) -> None:
    """The result of a call may be a list of texts."""
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    result = {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "It rains."}]}
    asked = {"role": "user", "content": "How is the weather?"}
    await api.chat(messages=[asked, {"role": "assistant", "tool_calls": [call]}, result])


async def without_parameters(api: Api) -> None:
    """A function without parameters is called with an empty object."""
    tool = {"type": "function", "function": {"name": "weather"}}
    [choice] = (await api.chat(tools=[tool], tool_choice=named(), max_tokens=60))["choices"]
    same(_call(choice), {}, "the arguments")


async def strict(api: Api) -> None:
    """A strict function is taken."""
    await api.chat(tools=[function(strict=True)])


async def an_empty_list(api: Api) -> None:
    """An empty list of tools counts as none."""
    await api.chat(tools=[])


async def odd_schemas(api: Api) -> None:
    """Schemas that no grammar can hold pass, where nothing forces the call."""
    recursive = {
        "$defs": {"node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}}},
        "$ref": "#/$defs/node",
    }
    odd = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(?=x).*$"}}, "required": None}
    await api.chat(tools=[function("recursive", recursive), function("odd", odd), function("any", {})])


async def same_names_in_definitions(api: Api) -> None:
    """Two functions may use one name for different definitions."""
    schemas = [
        {**WEATHER, "$defs": {"city": {"enum": [city]}}, "properties": {"city": {"$ref": "#/$defs/city"}}}
        for city in ("Brest", "Dover")
    ]
    tools = [function(name, schema) for name, schema in zip(("weather", "tide"), schemas, strict=True)]
    [choice] = (await api.chat(tools=tools, tool_choice="required", max_tokens=200))["choices"]
    cities = {"weather": "Brest", "tide": "Dover"}
    for call in choice["message"]["tool_calls"]:
        same(orjson.loads(call["function"]["arguments"]), {"city": cities[call["function"]["name"]]}, "the arguments")


async def an_unknown_choice(api: Api) -> None:
    """A choice that no tool has is refused."""
    await api.chat_refused(tools=[function()], tool_choice=named("tide"))


async def a_choice_without_tools(api: Api) -> None:
    """A forced choice without tools is refused."""
    await api.chat_refused(tool_choice="required")


async def a_wrong_choice(api: Api) -> None:
    """A choice that is none of the four forms is refused."""
    await api.chat_refused(tools=[function()], tool_choice="perhaps")


async def a_tool_without_a_name(api: Api) -> None:
    """A function needs a name."""
    await api.chat_refused(tools=[{"type": "function", "function": {"description": "?"}}])
