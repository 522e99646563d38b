"""The text of a custom tool, read out of arguments in pieces."""

import json

import pytest

from services.gateway.openai.custom_input import CustomInput, arguments

PATCH = 'a "quoted" \\ line\n\ttab \u00e9 \U0001f600 </end> \x01'


def read(whole: str, size: int) -> tuple[str, str]:
    """The text that is given piece by piece, and what comes at the end."""
    reader = CustomInput()
    pieces = [reader.feed(whole[start : start + size]) for start in range(0, len(whole), size)]
    return "".join(pieces), reader.finish()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_it_is_given_as_it_comes(size: int, ascii_only: bool) -> None:
    for whole in (json.dumps({"input": PATCH}, ensure_ascii=ascii_only), f' {{ "input" : {json.dumps(PATCH)} }} '):
        assert read(whole, size) == (PATCH, "")
    assert json.loads(arguments(PATCH)) == {"input": PATCH}


def test_a_text_that_is_cut_short_ends_where_it_is_certain() -> None:
    assert read('{"input": "ab\\', 1) == ("ab", "")
    assert read('{"input": "ab\\ud83d', 1) == ("ab", "")
    assert read('{"input": "ab\\ud83d\\ude', 3) == ("ab", "")


@pytest.mark.parametrize(
    ("odd", "text"),
    [
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"patch": "x"}', '{"patch": "x"}'),
        ('"only a text"', "only a text"),
        ('{"input": 7}', '{"input": 7}'),
        ('{"other": 1, "input": "x"}', "x"),
        ("", ""),
        ("x" * 500, "x" * 500),
    ],
)
def test_other_arguments_are_given_at_the_end(odd: str, text: str) -> None:
    assert read(odd, 4) == ("", text)


def test_half_of_a_pair_is_no_character() -> None:
    assert read('{"input": "a\\ud83dz\\udc00\\q"}', 1)[0] == "a\ufffdz\ufffd\ufffdq"
