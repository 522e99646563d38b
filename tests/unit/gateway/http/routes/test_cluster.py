import asyncio
from typing import Any

import pytest

from services.gateway.http.routes.cluster import KEPT_S, CachedDocument
from services.shared.errors import StoreUnavailable
from tests.support.clock import ManualClock


class Question:
    def __init__(self) -> None:
        self.asked = 0
        self.fails = False

    async def __call__(self) -> dict[str, Any]:
        self.asked += 1
        await asyncio.sleep(0)
        if self.fails:
            raise StoreUnavailable("away")
        return {"number": self.asked}


async def test_the_source_is_asked_once_a_second_however_many_clients_ask() -> None:
    clock, question = ManualClock(), Question()
    latest = CachedDocument(question, clock)
    assert await asyncio.gather(*(latest.get() for _ in range(50))) == [{"number": 1}] * 50
    await clock.advance(KEPT_S - 0.01)
    assert await latest.get() == {"number": 1}
    await clock.advance(0.01)
    assert await latest.get() == {"number": 2}


async def test_a_failure_is_raised_to_all_who_wait_and_kept_no_longer() -> None:
    clock, question = ManualClock(), Question()
    latest, question.fails = CachedDocument(question, clock), True
    told = await asyncio.gather(*(latest.get() for _ in range(50)), return_exceptions=True)
    assert [type(error) for error in told] == [StoreUnavailable] * 50
    assert question.asked == 1
    question.fails = False
    with pytest.raises(StoreUnavailable):
        await latest.get()
    await clock.advance(KEPT_S)
    assert await latest.get() == {"number": 2}
