"""Tokens are sent only with credit, and none is lost where a delta is split."""

import asyncio

import pytest

from services.worker.credit import Credit, split
from services.worker.engine.contract import Delta

DELTA = Delta(0, "four tokens", (1, 2, 3, 4), finish_reason="stop", text_from=5, text_end=16)


async def test_without_a_limit_deltas_pass() -> None:
    assert [part async for part in Credit(0).pace(DELTA)] == [DELTA]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_the_first_part_is_only_tokens(at: int) -> None:
    head, rest = split(DELTA, at)
    assert head.token_ids + rest.token_ids == DELTA.token_ids
    assert (head.text, head.finish_reason, head.text_end) == ("", None, 5)
    assert (rest.text, rest.finish_reason, rest.text_end) == ("four tokens", "stop", 16)


async def test_a_small_delta_waits_until_it_can_go_whole() -> None:
    credit = Credit(8)
    assert [part async for part in credit.pace(Delta(0, token_ids=(1, 2, 3, 4, 5)))]
    sending = asyncio.ensure_future(sent(credit))
    await asyncio.sleep(0)
    assert not sending.done()
    credit.add(1)
    assert await sending == [DELTA]


async def sent(credit: Credit) -> list[Delta]:
    return [part async for part in credit.pace(DELTA)]


async def test_a_large_delta_goes_out_in_parts_as_credit_comes() -> None:
    credit, sent = Credit(3), []

    async def send() -> None:
        sent.extend([part async for part in credit.pace(DELTA)])

    sending = asyncio.create_task(send())
    await asyncio.sleep(0)
    assert not sending.done()
    credit.add(1)
    await sending
    assert [part.token_ids for part in sent] == [(1, 2, 3), (4,)]


async def test_an_ending_without_tokens_needs_no_credit() -> None:
    credit = Credit(4)
    assert [part async for part in credit.pace(DELTA)] == [DELTA]
    ending = Delta(0, finish_reason="length")
    assert [part async for part in credit.pace(ending)] == [ending]
