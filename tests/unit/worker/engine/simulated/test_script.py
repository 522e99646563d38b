"""Scripts: answers as the prompt tells them, and calls that are forced."""

import json
from typing import Any

import pytest

from services.worker.engine.contract import ChatPrompt, Delta, InvalidPrompt, ResumePoint, Sampling, TextPrompt
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.script import script_of
from services.worker.engine.simulated.tokens import Oracle

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("look", "other")]
WHOLE = {
    "think": "h\u00e9",
    "say": "It is \u6e80\u6708 now",
    "call": [{"name": "look", "arguments": {"at": "Brest"}}, {"name": "other"}],
}


def prompt(script: Any, *after: dict[str, Any], **fields: Any) -> ChatPrompt:
    user = {"role": "user", "content": f"Please. SCRIPT: {json.dumps(script)} Thanks."}
    return ChatPrompt(messages=[user, *after], **{"tools": TOOLS, **fields})


def answer(asked: ChatPrompt, point: ResumePoint | None = None, **sampling: Any) -> list[Delta]:
    oracle = Oracle("a" * 64, (1,), Sampling(**sampling), 0, script_of(asked))
    choice = SimulatedChoice(oracle, 500)
    if point:
        assert choice.resume(point) is None
    deltas = [choice.next()]
    while deltas[-1].finish_reason is None:
        deltas.append(choice.next())
    return deltas


def heard(deltas: list[Delta]) -> dict[str, Any]:
    calls: dict[int, list[str]] = {}
    for part in (part for delta in deltas for part in delta.tool_calls):
        call = calls.setdefault(part.index, ["", "", ""])
        for at, text in enumerate((part.id, part.name, part.arguments)):
            call[at] += text
    return {
        "think": "".join(delta.reasoning for delta in deltas),
        "say": "".join(delta.text for delta in deltas),
        "calls": calls,
        "ending": deltas[-1].finish_reason,
    }


def test_it_thinks_says_and_calls_what_it_is_told() -> None:
    told = heard(answer(prompt(WHOLE)))
    ids = [call.pop(0) for call in told["calls"].values()]
    assert len(set(ids)) == 2
    assert told == {
        "think": "h\u00e9",
        "say": "It is \u6e80\u6708 now",
        "calls": {0: ["look", '{"at": "Brest"}'], 1: ["other", "{}"]},
        "ending": "tool_calls",
    }


def test_wherever_it_is_cut_the_rest_is_the_same() -> None:
    whole = answer(prompt(WHOLE))
    tokens = [token for delta in whole for token in delta.token_ids]
    for cut in range(1, len(tokens)):
        resumed = answer(prompt(WHOLE), ResumePoint(tuple(tokens[:cut]), whole[cut - 1].text_end))
        assert heard([*whole[:cut], *resumed]) == heard(whole), cut


def test_after_a_tool_it_closes() -> None:
    result = {"role": "tool", "content": "low", "tool_call_id": "c1"}
    assert heard(answer(prompt(WHOLE, result)))["say"] == "The tool said: low"
    closed = heard(answer(prompt({**WHOLE, "then": "Done."}, result)))
    assert (closed["say"], closed["calls"], closed["ending"]) == ("Done.", {}, "stop")


def test_without_tools_nothing_is_called() -> None:
    for fields in ({"tools": None}, {"tool_choice": "none"}):
        told = heard(answer(prompt(WHOLE, **fields)))
        assert (told["calls"], told["ending"]) == ({}, "stop")


def test_a_forced_call_needs_no_script() -> None:
    schemas = {"look": {"type": "object"}, "other": {"type": "object", "properties": {"a": {"enum": [3]}},
                                                     "required": ["a"]}}  # fmt: skip
    chats = [{"role": "user", "content": "Hi."}]
    named = {"type": "function", "function": {"name": "other"}}
    for choice, call in (("required", ["look", "{}"]), (named, ["other", '{"a": 3}'])):
        asked = ChatPrompt(chats, TOOLS, choice, argument_schemas=schemas)  # type: ignore[arg-type]
        told = heard(answer(asked))
        assert told["calls"][0][1:] == call
        assert (told["say"], told["ending"]) == ("", "tool_calls")


def test_a_stop_string_ends_what_is_said() -> None:
    stopped = answer(prompt({"say": "one two three"}), stop=("two",))
    assert (heard(stopped)["say"], stopped[-1].stop_reason) == ("one ", "two")


@pytest.mark.parametrize("content", ["SCRIPT: {", "SCRIPT: 7", 'SCRIPT: {"call": {"arguments": {}}}'])
def test_a_wrong_script_is_refused(content: str) -> None:
    with pytest.raises(InvalidPrompt) as refused:
        script_of(ChatPrompt([{"role": "user", "content": content}], TOOLS))
    assert refused.value.param == "messages"


def test_a_text_by_a_pattern_needs_a_script() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^x$"}}, "required": ["a"]}
    with pytest.raises(InvalidPrompt, match="use a script"):
        script_of(
            ChatPrompt([{"role": "user", "content": "Hi."}], TOOLS, "required", argument_schemas={"look": schema})
        )


def test_a_structure_needs_a_script() -> None:
    [part] = script_of(prompt({"say": "{}"}), structured=True)
    assert part.text == "{}"
    for asked in (ChatPrompt([{"role": "user", "content": "Hi."}]), TextPrompt("SCRIPT: {}")):
        with pytest.raises(InvalidPrompt, match="those of a script") as refused:
            script_of(asked, structured=True)
        assert refused.value.param == "response_format"
