"""A version is staged ahead on every worker of a pool, over two replicas on one Redis, as the command follows it."""

import asyncio

import pytest

from services.cli.clients import version_staging
from services.cli.clients.version_staging import Staging
from services.cli.errors import CommandFailed
from services.router.app import RouterApp
from tests.support.peers import Worker, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]
NEW, NEWER = "1" * 64, "2" * 64
POOL = "tide"


async def asked(peer: Worker, stage_id: str) -> pb.StageOrder:
    """The order of this stage; earlier ones, which may be repeated, are skipped."""
    while True:
        frame = await peer.read()
        if frame.WhichOneof("frame") == "stage" and frame.stage.stage_id == stage_id:
            return frame.stage


async def report(peer: Worker, order: pb.StageOrder, phase: "pb.StagingPhase.ValueType", reason: str = "") -> None:
    done = 10 if phase == pb.STAGING_PHASE_STAGED else 4
    staging = pb.Staging(stage_id=order.stage_id, model_version=order.model_version, phase=phase, reason=reason)
    staging.staged_bytes, staging.total_bytes = done, 10
    peer.heartbeat.staging.CopyFrom(staging)
    await peer.beat()


async def test_every_worker_is_asked_through_its_router_and_the_command_sees_how_far_it_is(routers: Routers) -> None:
    first, second = ((router.address,) for router in routers)
    seen: list[Staging] = []
    async with worker(routers[0].address, "w1") as one, worker(routers[1].address, "w2") as two:
        begun = await version_staging.begin(first, POOL, NEW)
        assert [(each.id, each.phase) for each in begun.workers] == [("w1", ""), ("w2", "")]
        following = asyncio.create_task(version_staging.follow(second, begun, seen.append))
        orders = [await asked(peer, begun.id) for peer in (one, two)]
        assert {order.model_version for order in orders} == {NEW}
        await report(one, orders[0], pb.STAGING_PHASE_FETCHING)
        await asked(two, begun.id)  # it has not begun, and is asked again
        await report(two, orders[1], pb.STAGING_PHASE_FAILED, "no room")
        await report(one, orders[0], pb.STAGING_PHASE_STAGED)
        ended = await asyncio.wait_for(following, 20)
        rows = [(each.phase, each.staged_bytes, each.total_bytes, each.reason) for each in ended.workers]
        assert rows == [("staged", 10, 10, ""), ("failed", 4, 10, "no room")]
        assert seen[-1] == ended
        with pytest.raises(CommandFailed, match="w2: no room"):
            ended.check()


async def test_a_pool_stages_one_version_at_most_and_who_follows_an_earlier_one_hears_of_it(routers: Routers) -> None:
    first, second = ((router.address,) for router in routers)
    with pytest.raises(CommandFailed, match="tide has no worker"):
        await version_staging.begin(first, POOL, NEW)
    with pytest.raises(CommandFailed, match="'v1' is no version"):
        await version_staging.begin(first, POOL, "v1")
    async with worker(routers[0].address, "w1") as peer:
        earlier = await version_staging.begin(first, POOL, NEW)
        await report(peer, await asked(peer, earlier.id), pb.STAGING_PHASE_FETCHING)
        later = await version_staging.begin(second, POOL, NEWER)
        assert (await asked(peer, later.id)).model_version == NEWER
        with pytest.raises(CommandFailed, match=f"another call has begun since, for {NEWER}"):
            await version_staging.follow(first, earlier, lambda _: None)


async def test_the_same_version_again_joins_in_and_tries_again_only_after_a_failure(routers: Routers) -> None:
    first, second = ((router.address,) for router in routers)
    async with worker(routers[0].address, "w1") as peer:
        begun = await version_staging.begin(first, POOL, NEW)
        order = await asked(peer, begun.id)
        assert (await version_staging.begin(second, POOL, NEW)).id == begun.id
        await report(peer, order, pb.STAGING_PHASE_FAILED, "no room")

        async def ended() -> bool:
            return (await version_staging.begin(second, POOL, NEW)).id != begun.id

        await wait_until(ended, description="it is tried again")
