"""Lesson 9: a request that is sent twice with one `Idempotency-Key` runs once.

A client that lost its connection does not know whether its request was done. With the header `Idempotency-Key` it may
send the request again: the gateway answers with what it recorded of the first one, which may have ended or still run
(services/gateway/http/idempotency). The engine works once, and the ledger counts once.
"""

import asyncio

import pytest
from openai import AsyncOpenAI, ConflictError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

KEY = {"Idempotency-Key": "lesson-9"}


async def test_a_request_that_is_sent_twice_gets_one_answer(openai: AsyncOpenAI) -> None:
    async def ask(prompt: str, headers: dict[str, str]) -> tuple[str, str]:
        answer = await openai.completions.create(
            model="tide", prompt=prompt, max_tokens=50, temperature=1, extra_headers=headers
        )
        return answer.id, answer.choices[0].text

    first, at_the_same_time = await asyncio.gather(ask("Which tide?", KEY), ask("Which tide?", KEY))
    later = await ask("Which tide?", KEY)
    assert first == at_the_same_time == later

    other_id, _ = await ask("Which tide?", {})
    assert other_id != first[0]

    with pytest.raises(ConflictError, match="Idempotency-Key"):
        await ask("Another question?", KEY)
