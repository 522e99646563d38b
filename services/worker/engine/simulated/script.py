"""Answers as told in the prompt, so that tests of tools need no model that happens to call them.

The last user message of a chat may hold a script, `SCRIPT:` and a JSON object:

    SCRIPT: {"think": "...", "say": "...", "call": {"name": "look", "arguments": {"at": "Brest"}}, "then": "..."}

Every part may be left out, and `call` may be a list of calls. The answer reasons, says and calls just that. After the
result of a tool, it says `then`; without it, what the tool said. A chat that forces a call gets one without a script
too: of the first function that it may choose, with the shortest arguments that are valid. A structured output
needs a script that says it; nobody checks it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from services.worker.engine.contract import ChatPrompt, InvalidPrompt, Prompt
from services.worker.engine.simulated.arguments import shortest

MARK = "SCRIPT:"
MAX_CALLS = 128


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an answer.

    Attributes:
        text: the text, or the arguments of a call as JSON.
        name: the called function; empty for the other kinds.
    """

    kind: Literal["reasoning", "text", "call"]
    text: str
    name: str = ""


def script_of(prompt: Prompt, *, structured: bool = False) -> tuple[Part, ...]:
    """Returns the answer that a prompt asks for; empty if it has no script and forces no call.

    Args:
        prompt: with the script in it.
        structured: the answer must have a structure, which this engine cannot invent.

    Raises:
        InvalidPrompt: the script is wrong, or a forced call or a structure needs one.
    """
    parts = _answer(prompt) if isinstance(prompt, ChatPrompt) else ()
    if structured and not parts:
        raise InvalidPrompt("the simulated engine has no structured outputs but those of a script", "response_format")
    return parts


def _answer(prompt: ChatPrompt) -> tuple[Part, ...]:
    script = _read(prompt)
    if script is not None and prompt.messages[-1].get("role") == "tool" and not prompt.forces_call:
        said = f"The tool said: {_text(prompt.messages[-1].get('content'))}"
        return (Part("text", str(script.get("then") or said)),)
    parts = tuple(_parts(script or {}, prompt))
    if prompt.forces_call and not any(part.kind == "call" for part in parts):
        return (*parts, _invented(prompt))
    return parts


def _read(prompt: ChatPrompt) -> dict[str, Any] | None:
    users = [message for message in prompt.messages if message.get("role") == "user"]
    _, mark, rest = _text(users[-1].get("content") if users else "").partition(MARK)
    if not mark:
        return None
    try:
        script, _ = json.JSONDecoder().raw_decode(rest.strip())
    except ValueError as error:
        raise InvalidPrompt(f"the script is not JSON: {error}", "messages") from None
    if not isinstance(script, dict):
        raise InvalidPrompt("the script is not a JSON object", "messages")
    return script


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return str(content or "")


def _parts(script: dict[str, Any], prompt: ChatPrompt) -> Iterator[Part]:
    if script.get("think"):
        yield Part("reasoning", str(script["think"]))
    if script.get("say") and not prompt.forces_call:
        yield Part("text", str(script["say"]))
    calls = script.get("call") or []
    for call in (calls if isinstance(calls, list) else [calls])[:MAX_CALLS]:
        if prompt.tool_choice == "none" or not prompt.tools:
            return
        if not isinstance(call, dict) or not isinstance(call.get("name"), str):
            raise InvalidPrompt("a call in the script has no name", "messages")
        yield Part("call", json.dumps(call.get("arguments", {}), ensure_ascii=False), call["name"])


def _invented(prompt: ChatPrompt) -> Part:
    if not prompt.argument_schemas:
        raise InvalidPrompt("a call is forced, and no schema says with which arguments", "tool_choice")
    wanted = prompt.tool_choice["function"]["name"] if isinstance(prompt.tool_choice, dict) else None
    name = wanted or next(iter(prompt.argument_schemas))
    return Part("call", json.dumps(shortest(prompt.argument_schemas[name]), ensure_ascii=False), name)


def split(parts: tuple[Part, ...], text: str, start: int) -> Iterator[tuple[int, str, bool]]:
    """Splits a piece of an answer's whole text by the parts it belongs to.

    Args:
        parts: of the whole answer, one after the other.
        text: the piece.
        start: where it begins in the whole text.

    Yields:
        The number of the part, its text in this piece, and whether the part begins here.
    """
    begin = 0
    for number, part in enumerate(parts):
        end = begin + len(part.text)
        inside = text[max(0, begin - start) : max(0, end - start)]
        if inside:
            yield number, inside, start <= begin
        begin = end
