"""The Responses API, as the real openai client reads it."""

import openai
import pytest

from tests.integration.gateway.conftest import Cluster
from tests.support.fakes import MODEL, text
from tidegate.worker.v1 import worker_pb2

TOOL = {"type": "function", "name": "look", "parameters": {"type": "object"}, "strict": False}


async def test_whole(cluster: Cluster) -> None:
    answer = await cluster.openai.responses.create(
        model=MODEL, input="Count.", instructions="Be brief.", max_output_tokens=5, metadata={"a": "b"}
    )
    assert answer.output_text == text(5)
    assert (answer.status, answer.metadata, answer.service_tier) == ("completed", {"a": "b"}, "default")
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (11, 5)
    again = await cluster.openai.responses.create(model=MODEL, input=[*answer.output, {"role": "user", "content": "?"}])
    assert again.output_text == text(5)
    assert b'"assistant"' in cluster.worker.starts[1].chat.messages_json
    await cluster.idle()


async def test_streamed(cluster: Cluster) -> None:
    async with cluster.openai.responses.stream(model=MODEL, input="Count.") as stream:
        said = [event.delta async for event in stream if event.type == "response.output_text.delta"]
        final = await stream.get_final_response()
    assert "".join(said) == final.output_text == text(5)
    assert final.id.startswith("resp_")
    await cluster.idle()


async def test_function_calls(cluster: Cluster) -> None:
    def speak(delta: worker_pb2.Delta) -> None:
        first = delta.token_ids[0] == 0
        name = {"id": "call_1", "name": "look"} if first else {}
        delta.text = ""
        delta.tool_calls.add(arguments="{" if first else "}", **name)

    cluster.worker.behaviour.tokens, cluster.worker.behaviour.delta = 2, speak
    async with cluster.openai.responses.stream(model=MODEL, input="Look.", tools=[TOOL]) as stream:
        kinds = [event.type async for event in stream]
        [call] = (await stream.get_final_response()).output
    assert (call.type, call.call_id, call.name, call.arguments) == ("function_call", "call_1", "look", "{}")
    assert "response.function_call_arguments.done" in kinds


async def test_parameters_that_need_stored_responses_are_refused(cluster: Cluster) -> None:
    with pytest.raises(openai.BadRequestError, match="not stored"):
        await cluster.openai.responses.create(model=MODEL, input="x", previous_response_id="resp_1")
