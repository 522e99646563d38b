import json
from itertools import count
from typing import Any, Final

import pytest

from services.gateway.batches import lines
from services.gateway.batches.lines import Result, body_of, read_lines

CHAT: Final = "/v1/chat/completions"


def raw(number: int = 1, **changes: Any) -> bytes:
    return json.dumps(
        {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": {"model": "m"}, **changes}
    ).encode()


def test_blank_lines_are_not_counted_and_lines_are_found_again() -> None:
    content = b"\n".join([raw(1), b"", b"  ", raw(2, body={"model": "n"})])
    found, problems = read_lines(content.splitlines(keepends=True), CHAT)
    assert not problems
    assert [(line.index, line.custom_id) for line in found] == [(0, "r1"), (1, "r2")]
    assert [body_of(content[line.at : line.at + line.size]) for line in found] == [{"model": "m"}, {"model": "n"}]


def test_every_wrong_line_is_named() -> None:
    wrong = [
        b"{",
        b"[]",
        raw(2, method="GET"),
        raw(3, url="/v1/completions"),
        raw(1),
        raw(4, body={"stream": True}),
        raw(5, custom_id=None),
        b'{"custom_id": "' + b"x" * lines.MAX_LINE_BYTES + b'"}',
    ]
    _, problems = read_lines([raw(1), *wrong], CHAT)
    assert [problem.line for problem in problems] == list(range(2, 10))
    assert [problem.code for problem in problems] == [
        "invalid_json", "invalid_json", "invalid_value", "mismatched_endpoint", "duplicate_custom_id", "invalid_value",
        "missing_required_parameter", "line_too_long",
    ]  # fmt: skip


def test_errors_of_a_line_speak_of_the_line() -> None:
    wrong = [b"{", b"[]", b'{"a": 1e999}', b'{"a": 1, "a": 2}', b"[" * 100]
    messages = [problem.message for problem in read_lines(wrong, CHAT)[1]]
    assert len(messages) == len(wrong)
    assert all(message.startswith("The line ") for message in messages), messages


def test_a_line_may_have_more_than_it_needs() -> None:
    found, problems = read_lines([raw(1, note="mine")], CHAT)
    assert (len(found), problems) == (1, [])


def test_an_empty_file_and_a_file_with_too_many_problems() -> None:
    assert read_lines([b"\n"], CHAT)[1][0].code == "empty_file"
    assert len(read_lines([b"{"] * 1000, CHAT)[1]) == lines.MAX_PROBLEMS


def test_too_many_requests_are_not_read_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "MAX_LINES", 3)
    many = iter(map(raw, count(1)))
    assert [problem.code for problem in read_lines(many, CHAT)[1]] == ["too_many_requests"]
    assert next(many) == raw(5)


def test_results_can_be_stored_and_read_back() -> None:
    result = Result(3, True, {"a": "\n\u2028"})
    assert Result.load(result.dump().rstrip(b"\n")) == result
    assert result.dump().count(b"\n") == result.line().count(b"\n") == 1
