import pytest

from services.gateway.openai.strict_json import MAX_DEPTH, parse_object
from services.shared.errors import NotJson


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  ",
        b"{",
        b"[1]",
        b"5",
        b"null",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": 1e999}',
        b'{"a": 9223372036854775808}',
        b'{"a": -9223372036854775809}',
        b'{"a": ' + b"1" * 10_000 + b"}",
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b'{"a": "\xc3\x28"}',
        b'{"a": "\\ud800"}',
        b'{"a": "\x00"}',
        b'{"a": 1} {}',
        b"{'a': 1}",
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
        b"[" * 1_000_000,
    ],
)
def test_refused(body: bytes) -> None:
    with pytest.raises(NotJson):
        parse_object(body)


def test_taken() -> None:
    deep = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert parse_object(deep)
    brackets = b'{"a": "[[[[ \\" {{{' + b"[" * 100 + b'", "b": 9223372036854775807}'
    assert parse_object(brackets)["b"] == 2**63 - 1
