"""What the gateway sends to the next router replica after it lost one."""

from random import Random

from services.gateway.upstream.router_client import REPEAT_FINISH_S, RouterClient
from tests.integration.gateway.conftest import Started
from tests.support.clock import ManualClock
from tests.support.fakes import FakeRouter
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2


async def test_only_recent_finishes_are_sent_again(start: Started, router: FakeRouter) -> None:
    """Finishes of half a minute at 200 requests a second once kept a new replica busy for its whole life."""
    clock = ManualClock()
    client: RouterClient = await start(RouterClient([router.address], "gateway", clock=clock, random=Random(1)))
    await wait_until(lambda: client.connected, description="the gateway is connected")
    client.finish(router_pb2.Finish(request_id="long-over", attempt=1))
    await clock.advance(REPEAT_FINISH_S + 1)
    client.finish(router_pb2.Finish(request_id="just-over", attempt=1))
    await wait_until(lambda: len(router.finishes) == 2, description="the router heard both")

    await router.stop()
    await wait_until(lambda: not client.connected, description="the gateway notices")
    # Before the clock moves: the client has not tried again, so its next greeting has this one.
    client.finish(router_pb2.Finish(request_id="over-meanwhile", attempt=1))
    returned = FakeRouter()
    returned.listen = router.address
    await start(returned)
    await wait_until(lambda: advanced(clock, client), description="the gateway is connected again")
    await wait_until(lambda: len(returned.finishes) == 2, description="the router that came back heard them")
    assert [finish.request_id for finish in returned.finishes] == ["just-over", "over-meanwhile"]
    assert list(returned.hellos[0].held_requests) == ["just-over", "over-meanwhile"]


async def advanced(clock: ManualClock, client: RouterClient) -> bool:
    await clock.advance(0.1)
    return client.connected
