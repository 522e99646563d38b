"""Requests made from an OpenAPI document: few are drawn, and the rest are crosses of two."""

from random import Random
from typing import Any

import orjson
import pytest

from tests.robustness.inputs import http_cases as module
from tests.robustness.inputs.http_cases import HttpCase, http_cases

ASKED = {
    "type": "object",
    "required": ["model", "prompt"],
    "properties": {"model": {"type": "string"}, "prompt": {"type": "string"}, "n": {"type": "integer"}},
}


def operation(**more: Any) -> dict[str, Any]:
    return {"responses": {"200": {"description": "Answered."}}, **more}


NAMED = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
BODY = {"required": True, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Asked"}}}}
DOCUMENT: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Tides", "version": "1"},
    "paths": {
        "/v1/completions": {"post": operation(requestBody=BODY)},
        "/v1/models/{name}": {"get": operation(parameters=[NAMED])},
    },
    "components": {"schemas": {"Asked": ASKED}},
}


def test_a_seed_gives_the_same_cases_and_as_many_as_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_DRAWN", 4)
    cases = http_cases(DOCUMENT, "tide", 40, 7)
    assert cases == http_cases(DOCUMENT, "tide", 40, 7)
    posted = [case for case in cases if case.target == "/v1/completions"]
    assert len(posted) > 20
    assert len({case.body for case in posted}) > 8
    assert {case.method for case in cases} >= {"POST", "GET"}


def test_what_no_value_makes_wrong_is_drawn_right_only(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def draw(_strategy: Any, count: int, _seed: int) -> list[Any]:
        counts.append(count)
        return []

    monkeypatch.setattr(module, "draw", draw)
    http_cases(DOCUMENT, "tide", 40, 7)
    assert counts[0] == 0
    assert all(counts[1:])


def test_a_cross_has_fields_of_both_at_every_depth() -> None:
    one = {"a": 1, "b": {"c": 1, "d": [{"e": 1}]}}
    other = {"a": 2, "b": {"c": 2, "d": [{"e": 2}]}, "f": 2}
    bodies = [orjson.dumps(value) for value in (one, other)]
    cases = [HttpCase("POST", "/v1/completions", (), body) for body in (*bodies, b"[1]", b"{")]
    crossed = module._crossed(cases, 200, Random(7))
    assert len(crossed) == 200
    found = {case.body for case in crossed}
    assert orjson.dumps({"a": 1, "b": {"c": 1, "d": [{"e": 2}]}}) in found
    assert len(found) > 10
    assert all(set(orjson.loads(body)) <= {"a", "b", "f"} for body in found)
    assert [case.body for case in cases[:2]] == bodies


def test_there_is_no_cross_without_two_objects() -> None:
    assert module._crossed([HttpCase("POST", "/x", (), b"{}"), HttpCase("POST", "/x", (), b"1")], 5, Random(7)) == []
