"""Requests to a target, and what their answers say."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import httpx
import orjson

from tests.conformance.target import Target
from tests.support.plain_http import no_certificates

TIMEOUT_S = 120.0
UNKNOWN_ROUTE = (404, 405, 501)
NO_SUCH_MODEL = "model_does_not_embed"
WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"enum": ["Brest"]}},
    "required": ["city"],
    "additionalProperties": False,
}
"""The arguments of a function, small enough for a small model."""


class NotServed(Exception):
    """The target does not have this endpoint."""


class Refused(Exception):
    """The target answers a right request with a 400 or 403 and an error object: it does not do this, and says so."""


class Wrong(AssertionError):
    """The target answers otherwise than clients expect."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event. `data` is JSON, or the text `[DONE]`."""

    name: str
    data: Any


class Api:
    """A client of one target. Fails with Wrong, Refused or NotServed."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.http = httpx.AsyncClient(base_url=target.root, timeout=TIMEOUT_S, verify=no_certificates())

    async def __aenter__(self) -> "Api":
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.http.aclose()

    @property
    def authorization(self) -> dict[str, str]:
        """The header with the target's key."""
        return {"authorization": f"Bearer {self.target.key}"} if self.target.key else {}

    async def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Sends a request with the key, and judges nothing."""
        return await self.http.request(method, path, headers={**self.authorization, **(headers or {})}, **options)

    async def get(self, path: str) -> Any:
        """Returns the JSON of a GET that succeeds."""
        return self._document(await self.send("GET", path))

    async def context(self) -> int:
        """Returns how many tokens prompt and answer of the model may have together."""
        models = (await self.get("/v1/models"))["data"]
        [length] = [model["max_model_len"] for model in models if model["id"] == self.target.model]
        return int(length)

    async def post(self, path: str, **fields: Any) -> Any:
        """Returns the JSON of a POST that succeeds. The model is set, unless it is None."""
        body = {"model": self.target.model, **fields}
        if body["model"] is None:
            del body["model"]
        return self._document(await self.send("POST", path, json=body))

    async def chat(self, content: Any = "Where does the tide go?", **fields: Any) -> Any:
        """Returns a chat completion of one question. `messages` takes the place of the question."""
        return await self.post("/v1/chat/completions", **question(content, fields))

    async def complete(self, prompt: Any = "The tide", **fields: Any) -> Any:
        """Returns a completion."""
        return await self.post("/v1/completions", prompt=prompt, **{"max_tokens": 5, "temperature": 0, **fields})

    async def respond(self, asked: Any = "Where does the tide go?", **fields: Any) -> Any:
        """Returns a response of the Responses API."""
        return await self.post("/v1/responses", input=asked, **{"max_output_tokens": 16, "temperature": 0, **fields})

    async def message(self, content: Any = "Where does the tide go?", **fields: Any) -> Any:
        """Returns a message of Anthropic's API."""
        return await self.post("/v1/messages", **message(content, fields))

    async def refused(self, path: str, *, statuses: tuple[int, ...] = (400,), **fields: Any) -> dict[str, Any]:
        """Returns the error object of a POST that must be refused."""
        return self.error(await self.send("POST", path, json={"model": self.target.model, **fields}), *statuses)

    async def chat_refused(self, **fields: Any) -> dict[str, Any]:
        """Returns the error object of a chat that must be refused."""
        return await self.refused("/v1/chat/completions", **question("Hi.", fields))

    async def events(self, path: str, **fields: Any) -> list[Event]:
        """Returns the events of a stream that succeeds."""
        body = {"model": self.target.model, "stream": True, **fields}
        response = await self.send("POST", path, json=body)
        if response.status_code != 200:
            self._document(response)
        media = response.headers.get("content-type", "")
        expect(media.startswith("text/event-stream"), f"the stream has the content type {media!r}")
        return parse_events(response.text)

    async def chat_chunks(self, content: Any = "Where does the tide go?", **fields: Any) -> list[Any]:
        """Returns the chunks of a streamed chat, without the end mark."""
        return without_done(await self.events("/v1/chat/completions", **question(content, fields)))

    def error(self, response: httpx.Response, *statuses: int) -> dict[str, Any]:
        """Returns the error object of a response that must have one of the statuses."""
        if response.status_code in UNKNOWN_ROUTE and response.status_code not in statuses and unknown_route(response):
            raise NotServed(f"{response.status_code}")
        expect(response.status_code in statuses, f"{response.status_code} and not {statuses}: {response.text[:200]}")
        return error_object(response)

    def _document(self, response: httpx.Response) -> Any:
        if response.status_code == 200:
            return response.json()
        if response.status_code in UNKNOWN_ROUTE and unknown_route(response):
            raise NotServed(f"{response.status_code}")
        found = _json(response)
        error = found.get("error") if isinstance(found, dict) else None
        if isinstance(error, dict) and error.get("code") == NO_SUCH_MODEL:
            raise NotServed(error["message"])
        if isinstance(error, dict) and response.status_code in (400, 403) and error.get("message"):
            raise Refused(f"{error.get('param')}: {error['message']}")
        raise Wrong(f"{response.status_code}: {response.text[:300]}")


def question(content: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """A short chat without chance."""
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 16, "temperature": 0, **fields}


def message(content: Any, fields: dict[str, Any]) -> dict[str, Any]:
    """A short message without chance."""
    return {"messages": [{"role": "user", "content": content}], "max_tokens": 16, "temperature": 0, **fields}


def unknown_route(response: httpx.Response) -> bool:
    """Whether a status says that the endpoint, and not an object, is missing."""
    document = _json(response)
    if not isinstance(document, dict):
        return True
    error = document.get("error")
    if not isinstance(error, dict):
        return True
    return error.get("code") in ("unknown_url", "method_not_allowed") or error.get("message") in (
        "Not Found",
        "Method Not Allowed",
    )


def error_object(response: httpx.Response) -> dict[str, Any]:
    """Returns OpenAI's or Anthropic's error object."""
    document = _json(response)
    error = document.get("error") if isinstance(document, dict) else None
    expect(isinstance(error, dict), f"{response.status_code} has no error object: {response.text[:200]}")
    assert isinstance(error, dict)
    expect(bool(error.get("message")) and bool(error.get("type")), f"the error has no message or no type: {error}")
    return error


def parse_events(text: str) -> list[Event]:
    """Returns the events of a whole stream."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        name, data = "", []
        for line in block.split("\n"):
            field, _, value = line.partition(":")
            if field == "event":
                name = value.strip()
            elif field == "data":
                data.append(value.removeprefix(" "))
        if data:
            joined = "\n".join(data)
            found.append(Event(name, joined if joined == "[DONE]" else orjson.loads(joined)))
    return found


def without_done(events: list[Event]) -> list[Any]:
    """Returns the data of a stream that ends with OpenAI's mark."""
    expect(bool(events) and events[-1].data == "[DONE]", "the stream does not end with [DONE]")
    return [event.data for event in events[:-1]]


def function(name: str = "weather", parameters: Any = WEATHER, **fields: Any) -> dict[str, Any]:
    """A tool of chat completions."""
    return {"type": "function", "function": {"name": name, "parameters": parameters, **fields}}


def named(name: str = "weather") -> dict[str, Any]:
    """A choice of chat completions that forces a function."""
    return {"type": "function", "function": {"name": name}}


def expect(holds: bool, otherwise: str) -> None:
    """Fails the check where something does not hold. otherwise: what is so instead."""
    if not holds:
        raise Wrong(otherwise)


def same(found: Any, wanted: Any, what: str) -> None:
    """Fails the check where a value differs from the wanted one."""
    expect(found == wanted, f"{what} is {found!r} and not {wanted!r}")


def _json(response: httpx.Response) -> Any:
    try:
        return orjson.loads(response.content)
    except orjson.JSONDecodeError:
        return None
