"""`/v1/responses`."""

from typing import Any

import orjson

from tests.conformance.api import WEATHER, Api, Event, error_object, expect, same
from tests.conformance.needs import needs

TOOL: dict[str, Any] = {"type": "function", "name": "weather", "parameters": WEATHER}
REQUIRED = (
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model", "previous_response_id"),
    *("instructions", "output", "error", "tools", "tool_choice", "truncation", "parallel_tool_calls", "text", "top_p"),
    *("presence_penalty", "frequency_penalty", "top_logprobs", "temperature", "reasoning", "usage"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata", "safety_identifier"),
    "prompt_cache_key",
)
"""The properties that the Open Responses specification requires."""


def _text(response: Any) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"])


async def answers(api: Api) -> None:
    """A response has an id, a status, a message of the assistant, and token counts."""
    response = await api.respond()
    expect(response["id"].startswith("resp_"), f"the id is {response['id']}")
    same((response["object"], response["model"]), ("response", api.target.model), "object and model")
    expect(response["status"] in ("completed", "incomplete"), f"the status is {response['status']}")
    [message] = [item for item in response["output"] if item["type"] == "message"]
    same((message["role"], message["content"][0]["type"]), ("assistant", "output_text"), "role and type")
    expect(bool(_text(response)), "there is no text")
    usage = response["usage"]
    same(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"], "total_tokens")


async def required_properties(api: Api) -> None:
    """A response has every property that the Open Responses specification requires."""
    response = await api.respond()
    same([name for name in REQUIRED if name not in response], [], "what is missing")


async def ends_at_the_limit(api: Api) -> None:
    """A response that reaches `max_output_tokens` is incomplete, and says why."""
    response = await api.respond(max_output_tokens=3, ignore_eos=True)
    same(response["status"], "incomplete", "the status")
    same(response["incomplete_details"], {"reason": "max_output_tokens"}, "incomplete_details")
    same(response["usage"]["output_tokens"], 3, "output_tokens")


async def turns(api: Api) -> None:
    """The input may be a list of turns, with and without a type."""
    said = [{"role": "user", "content": "My name is Ada."}, {"role": "assistant", "content": "Hello, Ada."}]
    parts = [{"type": "input_text", "text": "What is my name?"}]
    await api.respond([*said, {"type": "message", "role": "user", "content": parts}])


async def instructions(api: Api) -> None:
    """`instructions` are taken, and repeated by the response."""
    same((await api.respond(instructions="Be brief."))["instructions"], "Be brief.", "instructions")


async def system_turns(api: Api) -> None:
    """System and developer turns may stand in the input, beside instructions."""
    turns = [{"role": "system", "content": "Be kind."}, {"role": "developer", "content": "Be brief."}]
    await api.respond([*turns, {"role": "user", "content": "Hi."}], instructions="Be there.")


async def streams(api: Api) -> None:
    """A stream begins with `created`, goes on with deltas, and ends with the whole response."""
    events = await _events(api)
    names = [event.data["type"] for event in events]
    same(names[:2], ["response.created", "response.in_progress"], "the first events")
    expect(names[-1] in ("response.completed", "response.incomplete"), f"the last event is {names[-1]}")
    for name in ("output_item.added", "content_part.added", "output_text.done", "content_part.done"):
        same(names.count(f"response.{name}"), 1, f"the number of {name}")
    text = "".join(e.data["delta"] for e in events if e.data["type"] == "response.output_text.delta")
    same(text, _text(events[-1].data["response"]), "the joined text")


async def events_are_numbered(api: Api) -> None:
    """Events are numbered from 0, without a gap, and named as their type."""
    events = await _events(api)
    same([event.data["sequence_number"] for event in events], list(range(len(events))), "the numbers")
    same([event.name for event in events], [event.data["type"] for event in events], "the names")


async def items_keep_their_id(api: Api) -> None:
    """The message of a stream has the same id in all its events."""
    events = await _events(api)
    ids = {event.data["item_id"] for event in events if "item_id" in event.data}
    ids |= {item["id"] for item in events[-1].data["response"]["output"]}
    same(len(ids), 1, "the number of ids")


async def logprobs(api: Api) -> None:
    """`include` with log probabilities shows them."""
    asked: dict[str, Any] = {"include": ["message.output_text.logprobs"], "top_logprobs": 2}
    response = await api.respond(**asked)
    [message] = [item for item in response["output"] if item["type"] == "message"]
    expect(bool(message["content"][0]["logprobs"]), "there are none")


async def forced_calls(api: Api) -> None:
    """A named function is called with valid arguments."""
    choice = {"type": "function", "name": "weather"}
    response = await api.respond(tools=[TOOL], tool_choice=choice, max_output_tokens=100)
    [call] = [item for item in response["output"] if item["type"] == "function_call"]
    same((call["name"], orjson.loads(call["arguments"])), ("weather", {"city": "Brest"}), "the call")
    expect(bool(call["call_id"]), "the call has no call_id")


async def forced_calls_streamed(api: Api) -> None:
    """The parts of a streamed call join to its arguments."""
    asked: dict[str, Any] = {"tools": [TOOL], "tool_choice": {"type": "function", "name": "weather"}}
    events = await _events(api, max_output_tokens=100, **asked)
    kind = "response.function_call_arguments"
    joined = "".join(event.data["delta"] for event in events if event.data["type"] == f"{kind}.delta")
    [done] = [event.data for event in events if event.data["type"] == f"{kind}.done"]
    same((orjson.loads(joined), done["arguments"]), ({"city": "Brest"}, joined), "the arguments")


async def results_of_calls(api: Api) -> None:
    """A call and its output may follow each other in the input."""
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": '{"city": "Brest"}'}
    output = {"type": "function_call_output", "call_id": "c", "output": "It rains."}
    await api.respond([{"role": "user", "content": "How is the weather?"}, call, output], tools=[TOOL])


async def hosted_tools(api: Api) -> None:
    """A tool that the server does not have is left out."""
    await api.respond(tools=[{"type": "web_search"}, TOOL])


@needs("grammar")
async def structured_text(api: Api) -> None:
    """`text.format` gives JSON that is valid under the schema."""
    form = {"type": "json_schema", "name": "weather", "schema": WEATHER, "strict": True}
    response = await api.respond(text={"format": form}, max_output_tokens=100)
    same(orjson.loads(_text(response)), {"city": "Brest"}, "the answer")


async def hints(api: Api) -> None:
    """Hints of all kinds are accepted."""
    await api.respond(
        reasoning={"effort": "low", "summary": "auto"},
        truncation="auto",
        metadata={"a": "b"},
        user="u",
        include=["reasoning.encrypted_content"],
        text={"verbosity": "low"},
        service_tier="auto",
    )


async def sampling_fields(api: Api) -> None:
    """Sampling fields of chats work here too."""
    await api.respond(top_p=0.9, seed=1, presence_penalty=0.1, frequency_penalty=0.1, stop=["zzz"], top_k=5)


async def stored(api: Api) -> None:
    """A stored response can be fetched by its id."""
    response = await api.respond(store=True)
    same((await api.get(f"/v1/responses/{response['id']}"))["id"], response["id"], "the id")


async def continued(api: Api) -> None:
    """`previous_response_id` continues a stored conversation."""
    first = await api.respond("My name is Ada.", store=True)
    second = await api.respond("What is my name?", previous_response_id=first["id"])
    expect(second["usage"]["input_tokens"] > first["usage"]["input_tokens"], "the first turn was not read")


async def not_stored(api: Api) -> None:
    """A response that was not stored is not found."""
    response = await api.respond(store=False)
    answer = await api.send("GET", f"/v1/responses/{response['id']}")
    same(answer.status_code, 404, "the status")
    error_object(answer)


async def continued_from_nothing(api: Api) -> None:
    """An unknown `previous_response_id` is refused."""
    await api.refused("/v1/responses", input="Hi.", previous_response_id="resp_unknown", statuses=(400, 404))


async def background(api: Api) -> None:
    """A response in the background is answered at once, and fetched later."""
    response = await api.respond(background=True, store=True)
    expect(response["status"] in ("queued", "in_progress", "completed"), f"the status is {response['status']}")


async def no_input(api: Api) -> None:
    """An input is needed."""
    await api.refused("/v1/responses")


async def an_unknown_part(api: Api) -> None:
    """A part of an unknown type is refused."""
    await api.refused("/v1/responses", input=[{"role": "user", "content": [{"type": "input_smell"}]}])


async def _events(api: Api, **fields: Any) -> list[Event]:
    asked = {"input": "Where does the tide go?", "max_output_tokens": 16, "temperature": 0, **fields}
    return [event for event in await api.events("/v1/responses", **asked) if event.data != "[DONE]"]
