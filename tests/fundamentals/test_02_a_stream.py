"""Lesson 2: a stream arrives token by token.

With `stream=True` each token goes to the client as soon as the engine has it, as a server-sent event
(services/gateway/openai). Tokens flow from worker to gateway directly; the router never sees them. Here the engine has
thousands of tokens to say, and the first ones arrive while it still works.
"""

import pytest
from openai import AsyncOpenAI

from tests.fundamentals.observer import Observer

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


async def test_tokens_arrive_while_the_engine_still_works(openai: AsyncOpenAI, observer: Observer) -> None:
    stream = await openai.completions.create(
        model="tide", prompt="Where does the tide go?", max_tokens=8000, stream=True, extra_body={"ignore_eos": True}
    )
    words: list[str] = []
    async for chunk in stream:
        words.append(chunk.choices[0].text)
        if len(words) == 10:
            break
    assert len("".join(words).split()) >= 10
    await observer.wait_until_running(1)
    await stream.close()


async def test_a_stream_says_what_the_answer_in_one_piece_says(openai: AsyncOpenAI) -> None:
    whole = await openai.completions.create(model="tide", prompt="Where to?", max_tokens=30, temperature=0)
    stream = await openai.completions.create(
        model="tide", prompt="Where to?", max_tokens=30, temperature=0, stream=True
    )
    assert "".join([chunk.choices[0].text async for chunk in stream]) == whole.choices[0].text
