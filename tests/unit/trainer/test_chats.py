"""Data is checked line by line, and always split the same way."""

import json
from random import Random

import pytest

from trainer.chats import MAX_ERRORS, WrongData, parse, split


def line(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": content} for role, content in turns]})


def numbered(number: int) -> str:
    return line(("user", f"ask {number}"), ("assistant", f"say {number}"))


GOOD = numbered(0)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be an object"),
        ('{"messages": []}', "messages: Tuple should have at least 2"),
        ('{"prompt": "a"}', "messages: Field required; prompt: Extra inputs"),
        (line(("user", "a"), ("tool", "b")), "messages.1.role"),
        (line(("user", "a"), ("assistant", "")), "messages.1.content"),
        (line(("user", "a"), ("assistant", "b"), ("user", "c")), "last message must be the assistant's"),
        (line(("user", "a"), ("system", "b"), ("assistant", "c")), "system message may only be the first"),
        (line(("assistant", "a"), ("assistant", "b")), "cannot speak first"),
    ],
)
def test_a_wrong_line_is_named(wrong: str, told: str) -> None:
    with pytest.raises(WrongData, match=r"^data:3: ") as error:
        parse(f"{GOOD}\n\n{wrong}\n{GOOD}\n", "data")
    assert told in str(error.value)


def test_not_every_wrong_line_is_told() -> None:
    with pytest.raises(WrongData) as error:
        parse("{\n" * 1000, "data")
    assert str(error.value).count("\n") == MAX_ERRORS - 1


def test_too_few_chats_are_told() -> None:
    with pytest.raises(WrongData, match="holds 1 chats"):
        parse(GOOD, "data")


def test_every_answer_is_something_to_learn() -> None:
    turns = ("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")
    assert parse(f"{line(*turns)}\n{GOOD}", "data")[0].turns == (2, 4)


@pytest.mark.parametrize(("count", "share", "held_out"), [(2, 0.01, 1), (2, 0.5, 1), (10, 0.2, 2), (45, 0.1, 4)])
def test_a_split_loses_nothing_and_leaves_both_sides_something(count: int, share: float, held_out: int) -> None:
    chats = parse("\n".join(numbered(number) for number in range(count)), "data")
    parts = split(chats, share, Random(1))
    assert len(parts.held_out) == held_out
    assert sorted(chat.model_dump_json() for chat in parts.training + parts.held_out) == sorted(
        chat.model_dump_json() for chat in chats
    )
    assert split(chats, share, Random(1)) == parts
