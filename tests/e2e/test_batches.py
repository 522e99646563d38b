"""A batch outlives the gateway that works on it."""

import json
import os
import signal
from collections import Counter

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
