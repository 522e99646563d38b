"""Each kind of outcome, with an invented server."""

import httpx
import pytest

from tests.conformance import api as apis
from tests.conformance.api import Api, parse_events
from tests.conformance.check import Check, Outcome
from tests.conformance.differences import outdated, unnamed
from tests.conformance.suite import run
from tests.conformance.target import Target

TARGET = Target("invented", "http://invented/v1", "k", "m", frozenset())
ERROR = {"message": "m", "type": "t", "param": "p", "code": None}


def answer(request: httpx.Request) -> httpx.Response:
    match request.url.path:
        case "/right":
            return httpx.Response(200, json={"a": 1})
        case "/refused":
            return httpx.Response(400, json={"error": ERROR})
        case "/broken":
            return httpx.Response(500, text="Oh.")
        case "/object":
            return httpx.Response(404, json={"error": {**ERROR, "code": "model_not_found"}})
    return httpx.Response(404, json={"detail": "Not Found"})


@pytest.mark.parametrize(
    ("path", "verdict"),
    [
        ("/right", "passed"),
        ("/refused", "refused"),
        ("/broken", "failed"),
        ("/object", "failed"),
        ("/elsewhere", "not served"),
    ],
)
async def test_verdicts(path: str, verdict: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Invented(Api):
        def __init__(self, target: Target) -> None:
            self.target = target
            self.http = httpx.AsyncClient(base_url=target.root, transport=httpx.MockTransport(answer))

    async def looks(api: Api) -> None:
        apis.same((await api.get(path))["a"], 1, "a")

    monkeypatch.setattr("tests.conformance.suite.Api", Invented)
    outcomes = await run(TARGET, [Check("x.looks", "It looks.", looks, frozenset())])
    assert outcomes["x.looks"].verdict == verdict


async def test_what_the_model_cannot_do_is_left_out() -> None:
    async def looks(api: Api) -> None:
        raise AssertionError("it ran")

    outcomes = await run(TARGET, [Check("x.looks", "It looks.", looks, frozenset({"grammar"}))])
    assert outcomes["x.looks"] == Outcome("left out", "needs grammar")


def test_events() -> None:
    first, second, done = parse_events(
        'event: a\r\nid: 1\r\ndata: {"b": 1}\r\n\r\n: hello\n\ndata: 2\n\ndata: [DONE]\n\n'
    )
    assert (first.name, first.data, second.data, done.data) == ("a", {"b": 1}, 2, "[DONE]")


def test_differences_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.conformance.differences.named", lambda: frozenset({"a.named", "a.same", "a.left"}))
    ours = {
        "a.same": Outcome("passed"),
        "a.named": Outcome("refused"),
        "a.new": Outcome("passed"),
        "a.left": Outcome("left out"),
    }
    vllm = {"a.same": "passed", "a.named": "passed", "a.new": "failed", "a.left": "passed"}
    assert list(unnamed(ours, vllm)) == ["a.new"]
    assert outdated(ours, vllm) == ["a.same"]
