"""Lesson 5: a worker dies, and its stream goes on.

The gateway keeps the token ids that it has sent to the client. When the worker's connection breaks, it asks the router
for another slot and sends prompt and tokens to the next worker, which continues after the last one
(services/gateway/generation, docs/adr/0007-resuming-streams.md). The client sees one stream, without a gap or a
repetition. The simulated engine's words depend only on the prompt and the position, so a wrong token would show.
"""

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

TOKENS = 400


async def test_a_stream_goes_on_when_its_worker_is_killed(openai: AsyncOpenAI, observer: Observer) -> None:
    request = {"model": "tide", "prompt": "Tell me of the tide.", "max_tokens": TOKENS, "temperature": 0}
    endless = {"extra_body": {"ignore_eos": True}}
    expected = await openai.completions.create(**request, **endless)  # type: ignore[call-overload]

    stream = await openai.completions.create(**request, **endless, stream=True)  # type: ignore[call-overload]
    received = ""
    killed = ""
    async for chunk in stream:
        received += chunk.choices[0].text
        if not killed and len(received.split()) >= 20:
            killed = await observer.busy_worker()
            observer.kill(killed)
    assert killed.startswith("worker")
    assert received == expected.choices[0].text
