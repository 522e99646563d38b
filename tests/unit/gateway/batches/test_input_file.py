import codecs
import json
from itertools import count
from typing import Any, Final

import pytest

from services.gateway.batches import input_file
from services.gateway.batches.batch import Problem
from services.gateway.batches.input_file import body_of, read_lines

CHAT: Final = "/v1/chat/completions"
BODY: Final = {"model": "m"}


def raw(number: int = 1, **changes: Any) -> bytes:
    line = {"custom_id": f"r{number}", "method": "POST", "url": CHAT, "body": BODY, **changes}
    return json.dumps({name: value for name, value in line.items() if value != "left out"}).encode()


def problems_of(*lines: bytes) -> list[Problem]:
    return read_lines(lines, CHAT)[1]


def test_blank_lines_are_not_counted_and_lines_are_found_again() -> None:
    content = b"\n".join([raw(1), b"", b"  ", b"\x0b" + raw(2, body={"model": "n"}) + b"\r"])
    found, problems = read_lines(content.splitlines(keepends=True), CHAT)
    assert not problems
    assert [(line.index, line.number, line.custom_id) for line in found] == [(0, 1, "r1"), (1, 4, "r2")]
    assert [body_of(content[line.at : line.at + line.size]) for line in found] == [{"model": "m"}, {"model": "n"}]


def test_a_byte_order_mark_at_the_start_is_skipped() -> None:
    content = codecs.BOM_UTF8 + raw(1) + b"\n" + raw(2)
    found, problems = read_lines(content.splitlines(keepends=True), CHAT)
    assert not problems
    assert [body_of(content[line.at : line.at + line.size]) for line in found] == [BODY, BODY]
    assert problems_of(codecs.BOM_UTF8 + b"\n")[0].code == "empty_file"
    assert [problem.code for problem in problems_of(raw(1), codecs.BOM_UTF8 + raw(2))] == ["invalid_json_line"]


@pytest.mark.parametrize(
    ("line", "code", "param"),
    [
        (b"{", "invalid_json_line", None),
        (b"[]", "invalid_json_line", None),
        (b'{"custom_id": "a", "custom_id": "b"}', "invalid_json_line", None),
        (raw(custom_id="left out"), "missing_required_parameter", "custom_id"),
        (raw(custom_id=None), "missing_required_parameter", "custom_id"),
        (raw(method="left out"), "missing_required_parameter", "method"),
        (raw(url="left out"), "missing_required_parameter", "url"),
        (raw(body="left out"), "missing_required_parameter", "body"),
        (raw(body={}), "invalid_request", "body.model"),
        (raw(body={"model": 5}), "invalid_value", "body.model"),
        (raw(body=[]), "invalid_value", "body"),
        (raw(custom_id=5), "invalid_value", "custom_id"),
        (raw(custom_id=""), "invalid_value", "custom_id"),
        (raw(custom_id="x" * 513), "invalid_value", "custom_id"),
        (raw(method="GET"), "invalid_value", "method"),
        (raw(url="/v1/completions"), "invalid_url", "url"),
        (raw(custom_id="first"), "duplicate_custom_id", "custom_id"),
        (raw(body={**BODY, "stream": True}), "streaming_unsupported", "body.stream"),
        (b'{"custom_id": "' + b"x" * input_file.MAX_LINE_BYTES + b'"}', "line_too_long", None),
    ],
)
def test_what_is_wrong_with_a_line(line: bytes, code: str, param: str | None) -> None:
    [problem] = problems_of(raw(custom_id="first"), line)
    assert (problem.line, problem.code, problem.param) == (2, code, param)
    assert problem.message.startswith("Line 2")
    assert "request body" not in problem.message


def test_a_problem_names_the_request_where_it_can() -> None:
    assert problems_of(raw(7, method="left out"))[0].message == (
        "Line 1 (custom_id 'r7'): Missing required parameter: 'method'."
    )
    assert problems_of(b"{'a': 1}")[0].message == (
        "Line 1: This line is not valid JSON: unexpected character, expected a string key at column 2."
    )
    assert "xxx...'" in problems_of(raw(custom_id="x" * 600))[0].message


def test_every_wrong_line_is_named() -> None:
    problems = problems_of(raw(1), b"{", raw(1), raw(2), raw(3, url="/v1/embeddings"))
    assert [problem.line for problem in problems] == [2, 3, 5]


def test_fields_that_only_label_a_line_are_left_out() -> None:
    assert not problems_of(raw(metadata={"a": "b"}, id="x", body={**BODY, "stream": False}))


def test_an_empty_file_and_a_file_with_too_many_problems() -> None:
    assert problems_of(b"\n")[0].code == "empty_file"
    assert len(problems_of(*[b"{"] * 1000)) == input_file.MAX_PROBLEMS


def test_too_many_requests_are_not_read_to_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_file, "MAX_LINES", 3)
    many = iter(map(raw, count(1)))
    assert [problem.code for problem in read_lines(many, CHAT)[1]] == ["too_many_tasks"]
    assert next(many) == raw(5)


def test_lines_of_one_model_share_its_name() -> None:
    found, _ = read_lines([raw(1), raw(2)], CHAT)
    assert found[0].model is found[1].model
