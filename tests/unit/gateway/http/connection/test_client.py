"""Who lets one wait last too long is given up; many short waits are none."""

import asyncio

from services.gateway.http.connection.client import WriteTimeout
from tests.support.wait import wait_until

LIMIT_S = 0.05


async def test_one_long_wait_expires_once() -> None:
    given_up: list[str] = []
    timeout = WriteTimeout(LIMIT_S, lambda: given_up.append("given up"))
    timeout.begin()
    await wait_until(lambda: timeout.expired, description="the timeout has expired")
    assert given_up == ["given up"]


async def test_many_short_waits_do_not_expire() -> None:
    timeout, loop = WriteTimeout(LIMIT_S, lambda: None), asyncio.get_running_loop()
    enough = loop.time() + 3 * LIMIT_S

    def waited() -> bool:
        timeout.begin()
        timeout.end()
        return loop.time() > enough

    await wait_until(waited, description="three limits have passed")
    assert not timeout.expired
    timeout.begin()
    await wait_until(lambda: timeout.expired, description="the timer still runs")


async def test_nothing_expires_after_the_last_wait() -> None:
    given_up: list[str] = []
    timeout, loop = WriteTimeout(LIMIT_S, lambda: given_up.append("given up")), asyncio.get_running_loop()
    timeout.begin()
    timeout.end(last=True)
    enough = loop.time() + 3 * LIMIT_S
    await wait_until(lambda: loop.time() > enough, description="three limits have passed")
    assert not given_up
