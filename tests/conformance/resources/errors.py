"""Requests that must be refused, and what their errors say."""

from typing import Any

from tests.conformance.api import Api, error_object, expect, question, same

CHAT = "/v1/chat/completions"
JSON = {"content-type": "application/json"}


async def no_json(api: Api) -> None:
    """A body that is no JSON is a 400."""
    answer = await api.send("POST", CHAT, content=b"{nonsense", headers=JSON)
    same(answer.status_code, 400, "the status")
    error_object(answer)


async def no_object(api: Api) -> None:
    """A body that is JSON, but no object, is a 400."""
    for body in (b"[]", b'"text"', b"42", b"null"):
        answer = await api.send("POST", CHAT, content=body, headers=JSON)
        same(answer.status_code, 400, f"the status of {body!r}")
        error_object(answer)


async def an_empty_body(api: Api) -> None:
    """An empty body is a 400."""
    answer = await api.send("POST", CHAT, content=b"", headers=JSON)
    same(answer.status_code, 400, "the status")
    error_object(answer)


async def shape(api: Api) -> None:
    """An error has OpenAI's four fields, and `code` is a text or null."""
    error = await api.chat_refused(temperature="hot")
    same(sorted(error), ["code", "message", "param", "type"], "the fields")
    expect(error["code"] is None or isinstance(error["code"], str), f"the code is {error['code']!r}")


async def type_of_errors(api: Api) -> None:
    """A wrong request has the type `invalid_request_error`."""
    same((await api.chat_refused(temperature=5))["type"], "invalid_request_error", "the type")


async def names_the_field(api: Api) -> None:
    """The error of a wrong value names the field in `param`."""
    for field, value in (("temperature", 5), ("top_p", 2), ("max_tokens", -1), ("n", 0)):
        same((await api.chat_refused(**{field: value}))["param"], field, "param")


async def names_the_field_within_messages(api: Api) -> None:
    """The error of a wrong value within messages names its place."""
    error = await api.chat_refused(messages=[{"role": "user", "content": 5}])
    expect("messages" in (error["param"] or ""), f"param is {error['param']!r}")


async def plain_words(api: Api) -> None:
    """Errors are in words of the API, and not in those of a library."""
    wrong: list[dict[str, Any]] = [{"temperature": "hot"}, {"messages": "Hi."}, {"n": 1.5}, {"stop": 5}]
    for fields in wrong:
        text = (await api.chat_refused(**fields))["message"]
        for word in ("pydantic", "Input should", "validation error", "Traceback", "ValidationError"):
            expect(word not in text, text)


async def no_messages(api: Api) -> None:
    """Messages are needed."""
    await api.refused(CHAT)


async def empty_messages(api: Api) -> None:
    """An empty list of messages is refused."""
    await api.refused(CHAT, messages=[])


async def no_model(api: Api) -> None:
    """A chat must name its model, as in OpenAI's reference."""
    answer = await api.send("POST", CHAT, json=question("Hi.", {}))
    same(answer.status_code, 400, "the status")
    error_object(answer)


async def bounds(api: Api) -> None:
    """Values outside their bounds are refused."""
    wrong: list[dict[str, Any]] = [
        *({"temperature": value} for value in (-0.1, 2.5)),
        *({"top_p": value} for value in (0, 1.5)),
        *({"presence_penalty": value} for value in (-3, 3)),
        *({"frequency_penalty": value} for value in (-3, 3)),
        *({"max_tokens": value} for value in (0, -1)),
        *({"n": value} for value in (0, -1, 1_000_000)),
        {"min_p": 2},
        {"top_k": -2},
        {"min_tokens": 20, "max_tokens": 10},
    ]
    for fields in wrong:
        await api.chat_refused(**fields)


async def temperatures_above_two(api: Api) -> None:
    """A temperature above 2 is refused, as in OpenAI's reference."""
    await api.chat_refused(temperature=2.5)


async def types(api: Api) -> None:
    """Values of a wrong type are refused."""
    wrong: list[dict[str, Any]] = [
        {"messages": "Hi."},
        {"messages": [5]},
        {"max_tokens": "many"},
        {"stop": [5]},
        {"tools": {}},
        {"stream": {}},
    ]
    for fields in wrong:
        await api.chat_refused(**fields)


async def types_are_not_guessed(api: Api) -> None:
    """A text is no number: `"5"` for `max_tokens` is refused, as in OpenAI's reference."""
    await api.chat_refused(max_tokens="5")


async def prompts_beyond_the_context(api: Api) -> None:
    """A prompt that is too long is a 400 with the words `maximum context length`."""
    [model] = [each for each in (await api.get("/v1/models"))["data"] if each["id"] == api.target.model]
    error = await api.refused("/v1/completions", prompt=[300] * (model["max_model_len"] + 1), max_tokens=1)
    expect("maximum context length" in error["message"], error["message"])


async def the_code_of_long_prompts(api: Api) -> None:
    """The error of a prompt that is too long has OpenAI's code `context_length_exceeded`."""
    [model] = [each for each in (await api.get("/v1/models"))["data"] if each["id"] == api.target.model]
    error = await api.refused("/v1/completions", prompt=[300] * (model["max_model_len"] + 1), max_tokens=1)
    same(error["code"], "context_length_exceeded", "code")


async def answers_beyond_the_context(api: Api) -> None:
    """`max_tokens` beyond the context is a 400."""
    await api.chat_refused(max_tokens=1_000_000_000)


async def replaced_fields(api: Api) -> None:
    """`functions`, which OpenAI replaced, is not left out silently."""
    error = await api.chat_refused(functions=[{"name": "weather", "parameters": {}}])
    expect("tools" in error["message"], error["message"])


async def answers_as_sound(api: Api) -> None:
    """An answer as sound is not left out silently."""
    await api.chat_refused(modalities=["text", "audio"], audio={"voice": "a", "format": "wav"})
