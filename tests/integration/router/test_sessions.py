"""Requests of a gateway session: told their positions, ended when no longer held, refused when they kill engines."""

from services.router.app import RouterApp
from tests.support.peers import gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]


async def test_waiting_requests_are_told_their_positions_again(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one, gateway(routers[1].address) as two:
        await one.submit("running")
        assert await one.granted() == "running"
        await one.submit("first")
        await one.next("queued")
        await two.submit("second")
        queued = await two.next("queued")
        assert isinstance(queued, pb.Queued)
        assert queued.position == 1
        await one.finish("running")
        assert await one.granted() == "first"
        await wait_until(lambda: two.standing["second", 1].position == 0, description="it is told that it is next")


async def test_requests_that_a_gateway_no_longer_holds_are_ended_when_it_comes_back(routers: Routers) -> None:
    async with worker(routers[0].address, slots=2), gateway(routers[0].address) as other:
        async with gateway(routers[0].address, "same") as before:
            for request_id in ("kept", "unwanted"):
                await before.submit(request_id)
                assert await before.granted() == request_id
            await other.submit("waiting")
            await other.next("queued")
        async with gateway(routers[1].address, "same", held=("kept",)) as after:
            assert await other.granted() == "waiting"
            await after.submit("kept")
            assert await after.granted() == "kept"


async def test_a_request_that_killed_two_engines_is_given_up(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("once", attempt=2, at_head=True, engine_deaths=1)
        assert await one.granted() == "once"
        await one.submit("twice", attempt=3, at_head=True, engine_deaths=2)
        reject = await one.next("reject")
        assert isinstance(reject, pb.Reject)
        assert (reject.reason, reject.retry_after_ms) == (pb.REJECT_REASON_POISON, 0)


async def test_work_reported_of_an_older_process_is_revoked_when_the_new_one_attaches(routers: Routers) -> None:
    """Redis had lost the worker, so only the report was known. Its heartbeat shows that it was started again."""
    async with gateway(routers[0].address) as one:
        await one.submit("running", placement=pb.Placement(worker_id="w1", worker_epoch=1))
        assert await one.granted() == "running"
        async with worker(routers[1].address, epoch=2):
            revoke = await one.next("revoke")
            assert isinstance(revoke, pb.Revoke)
            assert revoke.reason == pb.REVOKE_REASON_WORKER_RESTARTED
