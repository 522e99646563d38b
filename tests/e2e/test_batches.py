"""A batch outlives the gateway that works on it, and one that is cancelled keeps what was done."""

import json
import os
import signal
from collections import Counter
from typing import Any, Literal

import pytest
from openai import APIConnectionError, AsyncOpenAI
from openai.types import Batch

from tests.support.cluster import RunningCluster
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

LINES = 60
BODY = {"model": "tide", "max_tokens": 400, "ignore_eos": True}


def line(number: int) -> str:
    """Two seconds of work; twelve run at once."""
    body = {**BODY, "messages": [{"role": "user", "content": f"Where does tide {number} go?"}]}
    return json.dumps({"custom_id": f"r{number}", "method": "POST", "url": "/v1/chat/completions", "body": body})


def kill_gateway(cluster: RunningCluster) -> None:
    gateway = next(process for process in cluster.status()["processes"] if process["name"] == "gateway")
    os.kill(gateway["pid"], signal.SIGKILL)


async def test_every_line_has_one_result_though_the_gateway_was_killed(simulated: RunningCluster) -> None:
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key, max_retries=0) as openai:
        content = "\n".join(map(line, range(LINES))).encode()
        file = await openai.files.create(file=("in.jsonl", content), purpose="batch")
        batch = await openai.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
        )

        async def now() -> Batch | None:
            try:
                return await openai.batches.retrieve(batch.id)
            except APIConnectionError:
                return None

        async def some_are_kept() -> bool:
            seen = await now()
            return bool(seen and seen.request_counts and seen.request_counts.completed)

        async def ended() -> bool:
            seen = await now()
            return bool(seen and seen.status == "completed")

        await wait_until(some_are_kept, description="some lines are answered", timeout=60)
        kill_gateway(simulated)
        await wait_until(ended, description="the gateway that came after it has ended the batch", timeout=120)
        done = await openai.batches.retrieve(batch.id)
        assert done.output_file_id
        results = [json.loads(text) for text in (await openai.files.content(done.output_file_id)).text.splitlines()]
    assert Counter(result["custom_id"] for result in results) == {f"r{number}": 1 for number in range(LINES)}
    # The simulated engine answers every question differently.
    assert len({result["response"]["body"]["choices"][0]["message"]["content"] for result in results}) == LINES
    assert done.request_counts
    assert (done.request_counts.completed, done.request_counts.failed) == (LINES, 0)
    assert done.error_file_id is None


async def test_a_cancelled_batch_keeps_its_answers_and_names_the_rest(simulated: RunningCluster) -> None:
    lines = 300
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key) as openai:
        file = await openai.files.create(
            file=("in.jsonl", "\n".join(map(line, range(lines))).encode("utf-8-sig")),
            purpose="batch",
            expires_after={"anchor": "created_at", "seconds": 3600},
        )
        assert file.expires_at == file.created_at + 3600
        batch = await openai.batches.create(
            input_file_id=file.id,
            endpoint="/v1/chat/completions",
            completion_window="24h",
            output_expires_after={"anchor": "created_at", "seconds": 3600},
        )

        async def moves() -> bool:
            counts = (await openai.batches.retrieve(batch.id)).request_counts
            return bool(counts and counts.total == lines and 0 < counts.completed < lines)

        async def cancelled() -> bool:
            return (await openai.batches.retrieve(batch.id)).status == "cancelled"

        await wait_until(moves, description="the counts move while it runs", timeout=60)
        assert (await openai.batches.cancel(batch.id)).status == "cancelling"
        await wait_until(cancelled, description="the batch is cancelled", timeout=60)
        done = await openai.batches.retrieve(batch.id)
        assert done.output_file_id
        assert done.error_file_id
        answers, rest = [
            [json.loads(text) for text in (await openai.files.content(file_id)).text.splitlines()]
            for file_id in (done.output_file_id, done.error_file_id)
        ]
        kept = await openai.files.retrieve(done.output_file_id)
    assert kept.expires_at == kept.created_at + 3600
    assert done.request_counts
    assert (done.request_counts.completed, done.request_counts.failed) == (len(answers), 0)
    assert {result["error"]["code"] for result in rest} == {"batch_cancelled"}
    assert Counter(result["custom_id"] for result in answers + rest) == {f"r{number}": 1 for number in range(lines)}


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/completions", {"model": "tide", "prompt": "Where does", "max_tokens": 8}),
        ("/v1/responses", {"model": "tide", "input": "Where does the tide go?", "max_output_tokens": 16}),
    ],
)
async def test_a_line_is_answered_as_its_endpoint_answers(
    simulated: RunningCluster, endpoint: Literal["/v1/completions", "/v1/responses"], body: dict[str, Any]
) -> None:
    request = json.dumps({"custom_id": "r", "method": "POST", "url": endpoint, "body": body}).encode()
    async with AsyncOpenAI(base_url=simulated.rest, api_key=simulated.key) as openai:
        file = await openai.files.create(file=("in.jsonl", request), purpose="batch")
        batch = await openai.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h")

        async def ended() -> bool:
            return (await openai.batches.retrieve(batch.id)).status == "completed"

        await wait_until(ended, description="the line is answered", timeout=60)
        done = await openai.batches.retrieve(batch.id)
        assert done.output_file_id
        [text] = (await openai.files.content(done.output_file_id)).text.splitlines()
        direct: dict[str, Any] = await openai.post(endpoint.removeprefix("/v1"), cast_to=dict, body=body)
    answer = json.loads(text)["response"]["body"]
    assert (answer.keys(), answer["object"]) == (direct.keys(), direct["object"])
