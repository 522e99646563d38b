"""The Responses API over the whole cluster with the openai client, as Codex and the Agents SDK use it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai import AsyncOpenAI, BadRequestError, NotFoundError

from tests.support.cluster import RunningCluster
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

LARK = {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch"'}
PATCH = {"type": "custom", "name": "apply_patch", "format": LARK}
SHELL = {"type": "function", "name": "shell", "strict": False, "parameters": {"properties": {"command": {}}}}
CRM = {"type": "namespace", "name": "mcp__crm__", "description": "Customers.", "tools": [SHELL]}
TOOLS: list[Any] = [PATCH, CRM, {"type": "web_search"}]
EDIT = '*** Begin Patch\n+"tide"\n'


@pytest.fixture
async def openai(simulated: RunningCluster) -> AsyncIterator[Any]:
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key, max_retries=0) as client:
        yield client


def script(**parts: Any) -> str:
    return f"SCRIPT: {json.dumps(parts)}"


async def test_a_round_of_tools_that_keeps_nothing_on_the_server(openai: Any) -> None:
    calls = [
        {"name": "apply_patch", "arguments": {"input": EDIT}},
        {"name": "mcp__crm__shell", "arguments": {"command": "ls"}},
    ]
    asked: Any = {
        "model": "tide",
        "instructions": "You are an agent.",
        "tools": TOOLS,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "xhigh", "summary": "auto"},
    }
    said: Any = [
        {"role": "developer", "content": "No jokes."},
        {"role": "user", "content": script(think="Hm.", call=calls, then="Done.")},
    ]
    pieces, final = [], None
    raw = await openai.responses.with_raw_response.create(**asked, input=said, stream=True)
    assert raw.headers["x-tidegate-ignored"] == "reasoning.summary, tools[2]"
    async for event in raw.parse():
        if event.type == "response.custom_tool_call_input.delta":
            pieces.append(event.delta)
        if event.type == "response.completed":
            final = event.response
    assert final
    reasoning, edit, shell = final.output
    assert reasoning.type == "reasoning"
    assert reasoning.encrypted_content
    assert edit.type == "custom_tool_call"
    assert (edit.name, edit.input, "".join(pieces)) == ("apply_patch", EDIT, EDIT)
    assert shell.type == "function_call"
    assert (shell.name, shell.namespace, json.loads(shell.arguments)) == ("shell", "mcp__crm__", {"command": "ls"})
    # As Codex sends them back: reasoning without its text.
    said += [
        {"type": "reasoning", "summary": [], "encrypted_content": reasoning.encrypted_content},
        edit.model_dump(exclude_none=True),
        shell.model_dump(exclude_none=True),
        {"type": "custom_tool_call_output", "call_id": edit.call_id, "output": "edited"},
        {"type": "function_call_output", "call_id": shell.call_id, "output": [{"type": "input_text", "text": "a.txt"}]},
    ]
    last = await openai.responses.create(**asked, input=said)
    assert (last.output_text, last.status) == ("Done.", "completed")


async def test_a_forced_custom_tool(openai: Any) -> None:
    colour: Any = {"type": "custom", "name": "colour"}
    form = {"type": "grammar", "syntax": "regex", "definition": "red|blue"}
    answer = await openai.responses.create(
        model="tide",
        input=script(call={"name": "colour", "arguments": {"input": "red"}}),
        tools=[{**colour, "format": form}, PATCH],
        tool_choice=colour,
    )
    [call] = answer.output
    assert (call.type, call.name, call.input) == ("custom_tool_call", "colour", "red")
    with pytest.raises(BadRequestError, match="lark grammar") as refused:
        await openai.responses.create(
            model="tide", input="x", tools=[PATCH], tool_choice={"type": "custom", "name": "apply_patch"}
        )
    assert refused.value.param == "tools[0].format.definition"
    with pytest.raises(BadRequestError, match="No such tool is served here"):
        await openai.responses.create(
            model="tide", input="x", tools=[{"type": "web_search"}], tool_choice={"type": "web_search_preview"}
        )


async def test_a_conversation_that_the_cluster_keeps(openai: Any) -> None:
    call = {"name": "mcp__crm__shell", "arguments": {"command": "ls"}}
    asked: Any = {"model": "tide", "tools": [CRM]}
    begun = await openai.responses.create(**asked, input=script(think="Hm.", call=call, then="Done."), background=True)

    async def ended() -> bool:
        return bool((await openai.responses.retrieve(begun.id)).status == "completed")

    await wait_until(ended, description="the response is completed", timeout=60)
    first = await openai.responses.retrieve(begun.id)
    [shell] = [item for item in first.output if item.type == "function_call"]
    output = {"type": "function_call_output", "call_id": shell.call_id, "output": "a.txt"}
    second = await openai.responses.create(**asked, input=[output], previous_response_id=first.id)
    assert second.output_text == "Done."
    [listed] = (await openai.responses.input_items.list(second.id)).data
    assert (listed.type, listed.output) == ("function_call_output", "a.txt")
    await openai.responses.delete(first.id)
    with pytest.raises(BadRequestError, match="deleted or has expired"):
        await openai.responses.create(**asked, input=[output], previous_response_id=second.id)


async def test_a_round_of_tools_in_a_conversation(openai: Any) -> None:
    call = {"name": "mcp__crm__shell", "arguments": {"command": "ls"}}
    made = await openai.conversations.create(metadata={"topic": "files"}, items=[{"role": "user", "content": "Hello."}])
    asked: Any = {"model": "tide", "tools": [CRM], "conversation": made.id}
    async with openai.responses.stream(**asked, input=script(think="Hm.", call=call, then="Done.")) as stream:
        first = await stream.get_final_response()
    assert first.conversation.id == made.id
    [shell] = [item for item in first.output if item.type == "function_call"]
    output = {"type": "function_call_output", "call_id": shell.call_id, "output": "a.txt"}
    with pytest.raises(BadRequestError) as refused:
        await openai.responses.create(**asked, input=[output, {**output, "call_id": "call_x"}])
    assert refused.value.param == "input[1].call_id"
    second = await openai.responses.create(**asked, input=[output], background=True)

    async def ended() -> bool:
        return bool((await openai.responses.retrieve(second.id)).status == "completed")

    await wait_until(ended, description="the response is completed", timeout=60)
    assert (await openai.responses.retrieve(second.id)).output_text == "Done."
    items = [item async for item in openai.conversations.items.list(made.id, order="asc", limit=2)]
    kinds = ["message", "message", "reasoning", "function_call", "function_call_output", "message"]
    assert [item.type for item in items] == kinds
    assert [item.id for item in items[2:4]] == [item.id for item in first.output]
    await openai.conversations.items.delete(shell.id, conversation_id=made.id)
    with pytest.raises(BadRequestError, match=f"'{items[4].id}' of the conversation answers no call"):
        await openai.responses.create(**asked, input="And now?")
    await openai.conversations.delete(made.id)
    with pytest.raises(NotFoundError):
        await openai.responses.create(**asked, input="And now?")
    assert (await openai.responses.retrieve(second.id)).conversation.id == made.id
