"""Limits are checked and charged in the step that queues, once a request, by any replica."""

from services.router.app import RouterApp
from tests.support.peers import Gateway, gateway, worker
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]

REQUESTS = pb.Limit(name="by-key", requests_per_minute=2)
TOKENS = pb.Limit(name="by-model", tokens_per_minute=1000)
ONE_AT_ONCE = pb.Limit(name="at-once", concurrency=1)
HUNDRED = pb.Cost(prompt_tokens=60, completion_tokens=40)


async def granted(peer: Gateway) -> pb.Grant:
    grant = await peer.next("grant")
    assert isinstance(grant, pb.Grant)
    return grant


async def refused(peer: Gateway) -> pb.Reject:
    reject = await peer.next("reject")
    assert isinstance(reject, pb.Reject)
    assert reject.reason == pb.REJECT_REASON_RATE_LIMITED
    return reject


async def test_the_answer_tells_where_every_limit_stands(routers: Routers) -> None:
    async with worker(routers[0].address, slots=9), gateway(routers[1].address) as one:
        await one.submit("r1", cost=HUNDRED, limits=[REQUESTS, TOKENS])
        by_key, by_model = (await granted(one)).limits
        assert (by_key.name, by_key.requests_limit, by_key.requests_remaining) == ("by-key", 2, 1)
        assert 20_000 < by_key.requests_reset_ms <= 30_000
        assert (by_model.tokens_limit, by_model.tokens_remaining) == (1000, 900)
        assert 1_000 < by_model.tokens_reset_ms <= 6_000


async def test_requests_over_the_limit_are_refused_by_every_replica(routers: Routers) -> None:
    async with (
        worker(routers[0].address, slots=9),
        gateway(routers[0].address) as one,
        gateway(routers[1].address) as two,
    ):
        for peer, request_id in ((one, "r1"), (two, "r2")):
            await peer.submit(request_id, limits=[REQUESTS, TOKENS])
            await granted(peer)
        await two.submit("r3", limits=[REQUESTS, TOKENS])
        reject = await refused(two)
        assert reject.limit_name == "by-key"
        assert 20_000 < reject.retry_after_ms <= 30_000
        # Those that were not in the way are told too.
        assert [limit.name for limit in reject.limits] == ["by-key", "by-model"]


async def test_what_was_estimated_too_high_is_given_back(routers: Routers) -> None:
    async with worker(routers[0].address, slots=9), gateway(routers[0].address) as one:
        await one.submit("r1", cost=pb.Cost(prompt_tokens=800), limits=[TOKENS])
        await granted(one)
        await one.submit("r2", cost=pb.Cost(prompt_tokens=400), limits=[TOKENS])
        assert (await refused(one)).limit_name == "by-model"
        await one.finish("r1", prompt_tokens=100)
        await one.submit("r3", cost=pb.Cost(prompt_tokens=400), limits=[TOKENS])
        assert 490 <= (await granted(one)).limits[0].tokens_remaining <= 505


async def test_what_no_minute_could_hold_is_refused_for_good(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("r1", cost=pb.Cost(prompt_tokens=1001), limits=[TOKENS])
        assert (await refused(one)).retry_after_ms == 0


async def test_requests_at_once_are_counted_until_they_end(routers: Routers) -> None:
    async with (
        worker(routers[0].address, slots=9),
        gateway(routers[0].address) as one,
        gateway(routers[1].address) as two,
    ):
        await one.submit("r1", limits=[ONE_AT_ONCE])
        await granted(one)
        await two.submit("r2", limits=[ONE_AT_ONCE])
        assert (await refused(two)).retry_after_ms > 0
        await one.finish("r1")
        # Frames of one gateway are handled in order, those of two are not.
        await one.submit("r3", limits=[ONE_AT_ONCE])
        await granted(one)


async def test_another_attempt_is_not_charged_again(routers: Routers) -> None:
    async with worker(routers[0].address, slots=9), gateway(routers[0].address) as one:
        await one.submit("r1", limits=[REQUESTS])
        await granted(one)
        for attempt in (2, 3, 4):
            await one.finish("r1", attempt - 1, outcome="retrying")
            await one.submit("r1", attempt=attempt, at_head=True, limits=[REQUESTS])
            assert (await granted(one)).limits[0].requests_remaining == 1


async def test_running_work_that_is_reported_after_a_loss_keeps_its_limits(routers: Routers) -> None:
    """Redis was emptied: what goes on is taken over whatever its limits say, and counts against them."""
    async with worker(routers[0].address, slots=9) as w1, gateway(routers[0].address) as one:
        placement = pb.Placement(worker_id="w1", worker_epoch=w1.heartbeat.epoch)
        await one.submit("r1", limits=[ONE_AT_ONCE, REQUESTS], placement=placement)
        assert [limit.name for limit in (await granted(one)).limits] == ["at-once", "by-key"]
        await one.submit("r2", limits=[ONE_AT_ONCE])
        assert (await refused(one)).limit_name == "at-once"


async def test_more_than_was_estimated_is_charged_though_the_limit_was_whole_by_then(routers: Routers) -> None:
    async with worker(routers[0].address, slots=9), gateway(routers[0].address) as one:
        await one.submit("r1", cost=pb.Cost(), limits=[TOKENS])
        await granted(one)
        await one.finish("r1", prompt_tokens=600)
        await one.submit("r2", cost=pb.Cost(prompt_tokens=500), limits=[TOKENS])
        assert (await refused(one)).limit_name == "by-model"
