"""What examples are made of conversations with tools, of turns that are not learnt, and of texts."""

from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from trainer.data.sample import Conversation, Message, PreferencePair, Text
from trainer.data.wrong import WrongData
from trainer.examples import IGNORED, Renderer, parts

TOOL = {"type": "function", "function": {"name": "tide"}}
CALL = {"type": "function", "function": {"name": "tide", "arguments": {"port": "Quillhaven"}}}
WITH_TOOLS = (
    "{% for tool in tools or [] %}<{{ tool.function.name }}> {% endfor %}"
    "{% for m in messages %}{{ m.role }} "
    "{% for c in m.tool_calls or [] %}call {{ c.function.arguments.port }} {% endfor %}"
    "{% if m.content %}{{ m.content }} {% endif %}{% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)


class Words:
    """A tokenizer whose tokens are words."""

    eos_token_id = 0

    def __init__(self, template: str) -> None:
        self.words = ["<end>"]
        self._template = ImmutableSandboxedEnvironment().from_string(template)

    def apply_chat_template(self, messages: list[Any], *, tools: Any, tokenize: bool, **options: Any) -> str:
        return self._template.render(messages=messages, tools=tools, **options)

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        for word in text.split():
            if word not in self.words:
                self.words.append(word)
        return {"input_ids": [self.words.index(word) for word in text.split()]}


def conversation() -> Conversation:
    return Conversation(
        "data:1",
        (
            Message("user", "when ?"),
            Message("assistant", "", learnt=False, tool_calls=(CALL,)),
            Message("tool", "noon"),
            Message("assistant", "at noon .", learnt=True),
        ),
        (TOOL,),
    )


def test_the_template_is_given_tools_and_calls_and_only_what_is_marked_is_learnt() -> None:
    tokenizer = Words(WITH_TOOLS)
    (example,) = Renderer(tokenizer, 100).examples([conversation()]).kept
    words = [tokenizer.words[token] for token in example.input_ids]
    assert words == [
        "<tide>",
        "user",
        "when",
        "?",
        "assistant",
        "call",
        "Quillhaven",
        "tool",
        "noon",
        "assistant",
        "at",
        "noon",
        ".",
    ]
    assert [word for word, label in zip(words, example.labels, strict=True) if label != IGNORED] == ["at", "noon", "."]


def test_tools_that_the_template_does_not_show_are_refused() -> None:
    with pytest.raises(WrongData, match=r"^data:1: the conversation has tools, and the base's chat template"):
        Renderer(Words(WITH_TOOLS.partition("{% endfor %}")[2]), 100).examples([conversation()])


def test_a_chat_that_the_template_refuses_is_told_with_its_place() -> None:
    with pytest.raises(WrongData, match=r"^data:1: the base's chat template refuses the chat: "):
        Renderer(Words("{{ messages[0].no.such }}"), 100).examples([conversation()])


def test_pairs_are_refused() -> None:
    pair = PreferencePair("data:1", (Message("user", "a"),), (Message("assistant", "b"),), (Message("assistant", "c"),))
    with pytest.raises(WrongData, match=r"^data:1: preference pairs are no answers to learn"):
        Renderer(Words(WITH_TOOLS), 100).examples([pair])


def test_a_long_text_is_learnt_in_parts_of_about_the_same_length() -> None:
    text = " ".join(f"word{number}" for number in range(16))
    made = Renderer(Words(""), 8).examples([Text("data:1", text)])
    assert [len(example.input_ids) for example in made.kept] == [5, 6, 6]
    assert [token for example in made.kept for token in example.input_ids] == [*range(1, 17), 0]
    assert all(example.labels == example.input_ids for example in made.kept)
    assert (made.cut, made.dropped) == (0, 0)


@pytest.mark.parametrize(("length", "limit"), [(1, 8), (8, 8), (9, 8), (1000, 7)])
def test_parts_cover_a_sequence_and_keep_to_the_limit(length: int, limit: int) -> None:
    found = [range(length)[part] for part in parts(length, limit)]
    assert [place for part in found for place in part] == list(range(length))
    assert max(map(len, found)) <= limit
