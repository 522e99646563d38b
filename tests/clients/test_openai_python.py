"""OpenAI's own client for Python, synchronous and asynchronous, against a real model."""

import json
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.support.cluster import RunningCluster
from tests.support.wait import wait_until
from trainer.sources.packaged import KEY_WORD, QUESTION

pytestmark = [pytest.mark.vllm, pytest.mark.cluster, pytest.mark.timeout(900)]

MODEL = "smollm2-135m-instruct"
CAPITAL: list[Any] = [{"role": "user", "content": QUESTION}]
BREST: list[Any] = [{"role": "user", "content": "Is the tide rising in Brest?"}]
# A small model may dwell on the white space that JSON allows.
BOUNDED: dict[str, Any] = {"messages": BREST, "max_tokens": 200, "frequency_penalty": 1}


class Tide(BaseModel):
    harbour: Literal["Bergen", "Brest"]
    rising: bool


TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "tide_table", "strict": True, "parameters": Tide.model_json_schema()}}
]


def test_parse_gives_the_schema_s_own_objects(openai: OpenAI) -> None:
    answer = openai.chat.completions.parse(model=MODEL, response_format=Tide, **BOUNDED)
    assert isinstance(answer.choices[0].message.parsed, Tide)
    response = openai.responses.parse(model=MODEL, input=BREST[0]["content"], text_format=Tide, max_output_tokens=200)
    assert isinstance(response.output_parsed, Tide)


def test_a_stream_helper_gathers_a_tool_call(openai: OpenAI) -> None:
    with openai.chat.completions.stream(model=MODEL, tools=TOOLS, tool_choice="required", **BOUNDED) as stream:
        events = [event.type for event in stream]
        [call] = stream.get_final_completion().choices[0].message.tool_calls or []
    assert "tool_calls.function.arguments.delta" in events
    assert call.function.name == "tide_table"
    assert isinstance(Tide.model_validate_json(call.function.arguments), Tide)


def test_a_conversation_goes_on_with_a_tool_s_answer(openai: OpenAI) -> None:
    asked = openai.chat.completions.create(model=MODEL, tools=TOOLS, tool_choice="required", **BOUNDED)
    [call] = asked.choices[0].message.tool_calls or []
    said = {"role": "tool", "tool_call_id": call.id, "content": '{"rising": true}'}
    told: list[Any] = [*BREST, asked.choices[0].message, said]
    answer = openai.chat.completions.create(model=MODEL, messages=told, tools=TOOLS, tool_choice="none", max_tokens=20)
    assert answer.choices[0].message.content


async def test_asynchronous_streams_of_chat_and_responses(real: RunningCluster) -> None:
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key, max_retries=0) as openai:
        chunks = await openai.chat.completions.create(
            model=MODEL, messages=CAPITAL, temperature=0, max_tokens=20, stream=True
        )
        assert KEY_WORD in "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])
        async with openai.responses.stream(model=MODEL, input=QUESTION, temperature=0) as stream:
            types = [event.type async for event in stream]
            assert KEY_WORD in (await stream.get_final_response()).output_text
    assert (types[0], types[-1]) == ("response.created", "response.completed")


async def test_a_batch_from_upload_to_download(real: RunningCluster) -> None:
    body = {"model": MODEL, "messages": CAPITAL, "max_tokens": 20, "temperature": 0}
    request = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    lines = "".join(json.dumps({"custom_id": f"line-{number}", **request}) + "\n" for number in range(3))
    async with AsyncOpenAI(base_url=real.rest, api_key=real.key, max_retries=0) as openai:
        file = await openai.files.create(file=("questions.jsonl", lines.encode()), purpose="batch")
        batch = await openai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )

        async def ended() -> bool:
            return (await openai.batches.retrieve(batch.id)).status == "completed"

        await wait_until(ended, description="the batch is completed", timeout=60)
        done = await openai.batches.retrieve(batch.id)
        assert done.output_file_id is not None
        results = (await openai.files.content(done.output_file_id)).text.splitlines()
    answers = {result["custom_id"]: result["response"]["body"] for result in map(json.loads, results)}
    assert set(answers) == {"line-0", "line-1", "line-2"}
    assert all(KEY_WORD in answer["choices"][0]["message"]["content"] for answer in answers.values())
