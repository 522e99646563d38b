"""Leases and losses: deadlines, restarts, replicas and Redis that go away."""

import asyncio

import grpc
import pytest
import redis

from services.router.app import RouterApp
from services.router.core.keys import PoolKeys
from services.router.settings import RouterSettings
from services.shared.rpc import channel
from tests.support.peers import gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

Routers = tuple[RouterApp, RouterApp]

KEPT_FOR_EVER = {f"tidegate:{{tide}}:{name}" for name in ("arrivals", "seen", "turns")}


async def test_nothing_is_left_when_everyone_has_gone(routers: Routers, redis_client: redis.Redis) -> None:
    async with worker(routers[0].address, slots=2), gateway(routers[0].address) as one:
        for n in range(5):
            await one.submit(f"r{n}")
        for n in range(2):
            assert await one.granted() == f"r{n}"
    await wait_until(lambda: set(redis_client.keys()) <= KEPT_FOR_EVER, description="every key has gone")


async def test_a_gateway_that_vanished_gives_its_slots_to_others(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as stays:
        async with gateway(routers[1].address) as leaves:
            await leaves.submit("abandoned")
            assert await leaves.granted() == "abandoned"
            await stays.submit("waiting")
            await stays.next("queued")
        assert await stays.granted() == "waiting"


async def test_a_gateway_that_comes_back_keeps_what_it_had(routers: Routers) -> None:
    async with worker(routers[0].address):
        async with gateway(routers[0].address, "same") as before:
            await before.submit("running")
            assert await before.granted() == "running"
            await before.submit("waiting")
            await before.next("queued")
        async with gateway(routers[1].address, "same") as after:
            await after.submit("running")
            assert await after.granted() == "running"
            await after.submit("waiting")
            await after.next("queued")
            await after.finish("running")
            assert await after.granted() == "waiting"


async def test_a_worker_that_dies_loses_its_grants_and_its_gateways_are_told(routers: Routers) -> None:
    async with gateway(routers[1].address) as one:
        async with worker(routers[0].address):
            await one.submit("r1")
            assert await one.granted() == "r1"
        revoke = await one.next("revoke")
        assert isinstance(revoke, pb.Revoke)
        assert (revoke.request_id, revoke.reason) == ("r1", pb.REVOKE_REASON_WORKER_LOST)
        async with worker(routers[1].address, "w2"):
            await one.submit("r1", attempt=2, at_head=True)
            assert await one.granted() == "r1"


async def test_a_worker_that_was_started_again_has_no_former_grants(routers: Routers) -> None:
    async with worker(routers[0].address, epoch=7), gateway(routers[0].address) as one:
        await one.submit("r1")
        assert await one.granted() == "r1"
        async with worker(routers[1].address, epoch=18_000_000_000_000_000_000):
            revoke = await one.next("revoke")
            assert isinstance(revoke, pb.Revoke)
            assert revoke.reason == pb.REVOKE_REASON_WORKER_RESTARTED


async def test_a_worker_whose_engine_hangs_loses_its_grants(routers: Routers) -> None:
    async with worker(routers[0].address) as hanging, gateway(routers[0].address) as one:
        await one.submit("r1")
        assert await one.granted() == "r1"
        hanging.heartbeat.state = pb.WORKER_STATE_STUCK
        revoke = await one.next("revoke")
        assert isinstance(revoke, pb.Revoke)
        assert (revoke.request_id, revoke.reason) == ("r1", pb.REVOKE_REASON_WORKER_STUCK)


async def test_an_old_epoch_is_refused(routers: Routers) -> None:
    async with worker(routers[0].address, epoch=1_000):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            async with worker(routers[1].address, epoch=999):
                pass
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


async def test_work_past_its_deadline_is_never_dispatched(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running")
        assert await one.granted() == "running"
        await one.submit("hurried", timeout_ms=50)
        await one.next("queued")
        reject = await one.next("reject")
        assert isinstance(reject, pb.Reject)
        assert (reject.request_id, reject.reason) == ("hurried", pb.REJECT_REASON_DEADLINE)
        await one.submit("patient")
        await one.next("queued")
        await one.finish("running")
        assert await one.granted() == "patient"


async def test_a_class_holds_no_more_than_its_cap(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running")
        assert await one.granted() == "running"
        for n in range(3):
            await one.submit(f"flex-{n}", "flex")
            await one.next("queued")
        await one.submit("flex-3", "flex")
        reject = await one.next("reject")
        assert isinstance(reject, pb.Reject)
        assert reject.reason == pb.REJECT_REASON_QUEUE_FULL
        assert reject.retry_after_ms > 0


async def test_an_unknown_pool_is_refused(routers: Routers) -> None:
    async with gateway(routers[0].address) as one:
        await one.submit("r1", pool="nowhere")
        reject = await one.next("reject")
        assert isinstance(reject, pb.Reject)
        assert reject.reason == pb.REJECT_REASON_UNKNOWN_POOL


async def test_a_pool_without_workers_waits_for_one_and_then_refuses(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with gateway(routers[0].address) as one:
        await one.submit("early")
        await one.next("queued")
        # The same state as if the last worker was heard of longer ago than the grace.
        redis_client.set("tidegate:{tide}:seen", 1)
        await one.submit("late")
        reject = await one.next("reject")
        assert isinstance(reject, pb.Reject)
        assert (reject.request_id, reject.reason) == ("late", pb.REJECT_REASON_NO_WORKERS)
        async with worker(routers[0].address):
            assert await one.granted() == "early"


async def test_finish_is_safe_to_repeat_and_only_for_its_attempt(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("r1", attempt=2)
        assert await one.granted() == "r1"
        await one.finish("r1", attempt=1)
        await one.submit("r2")
        await one.next("queued")
        await one.finish("r1", attempt=2)
        await one.finish("r1", attempt=2)
        assert await one.granted() == "r2"
        await one.submit("r3")
        await one.next("queued")


async def test_after_a_flush_gateways_submit_again_and_nothing_is_granted_twice(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with worker(routers[0].address, slots=1) as w1:
        async with gateway(routers[0].address, "kept") as before:
            await before.submit("running")
            assert await before.granted() == "running"
            redis_client.flushall()
            await before.closed()
        async with gateway(routers[1].address, "kept") as after:
            placement = pb.Placement(worker_id="w1", worker_epoch=w1.heartbeat.epoch)
            await after.submit("running", placement=placement)
            assert await after.granted() == "running"
            await wait_until(lambda: redis_client.exists("tidegate:{tide}:worker:w1"), description="w1 is back")
            await after.submit("waiting")
            await after.next("queued")
            await after.finish("running")
            assert await after.granted() == "waiting"


async def test_work_held_by_a_worker_that_never_attaches_is_revoked(routers: Routers) -> None:
    async with gateway(routers[0].address) as one:
        await one.submit("running", placement=pb.Placement(worker_id="ghost", worker_epoch=1))
        assert await one.granted() == "running"
        await one.next("revoke")


async def test_drain_reaches_a_worker_through_any_replica(routers: Routers) -> None:
    async with worker(routers[0].address) as one, channel(routers[1].address) as connection:
        control = ControlServiceStub(connection)
        await control.DrainWorker(pb.DrainWorkerRequest(pool="tide", worker_id="w1", timeout_ms=1234))
        assert (await one.read()).drain.timeout_ms == 1234
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await control.DrainWorker(pb.DrainWorkerRequest(pool="tide", worker_id="w9"))
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND


async def test_an_event_of_a_later_release_is_skipped_and_those_behind_it_arrive(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with worker(routers[0].address, "w1") as one, channel(routers[1].address) as to_other:
        keys = PoolKeys("tide")
        router = redis_client.hget(keys.key("worker:", "w1"), "router")
        redis_client.rpush(keys.key("outbox:", str(router)), '{"kind": "of a later release"}')
        request = pb.DrainWorkerRequest(pool="tide", worker_id="w1", timeout_ms=1234)
        await ControlServiceStub(to_other).DrainWorker(request)
        assert (await asyncio.wait_for(one.read(), 20)).drain.timeout_ms == 1234


async def test_operators_and_gateways_see_the_pool(routers: Routers) -> None:
    async with (
        worker(routers[0].address, slots=1),
        gateway(routers[1].address) as one,
        channel(routers[1].address) as connection,
    ):
        await wait_until(
            lambda: [pool.ready_workers for pool in one.catalog.pools] == [1], description="the catalog has the worker"
        )
        assert one.catalog.pools[0].model_versions == ["v1"]
        await one.submit("r1")
        await one.submit("r2", "batch")
        assert await one.granted() == "r1"
        control = ControlServiceStub(connection)
        workers = (await control.ListWorkers(pb.ListWorkersRequest())).workers
        assert [(w.heartbeat.worker_id, w.granted) for w in workers] == [("w1", 1)]
        pools = (await control.ListPools(pb.ListPoolsRequest())).pools
        queued = {pb.ServiceClass.Name(c.service_class): c.queued for c in pools[0].classes}
        assert queued["SERVICE_CLASS_BATCH"] == 1


async def test_two_hundred_requests_over_two_replicas_are_each_granted_once(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "w1", slots=3),
        worker(routers[1].address, "w2", slots=3),
        gateway(routers[0].address) as one,
        gateway(routers[1].address) as two,
    ):
        granted: list[str] = []

        async def drive(peer: object, name: str) -> None:
            for n in range(100):
                await peer.submit(f"{name}-{n}")  # type: ignore[attr-defined]
            while sum(g.startswith(name) for g in granted) < 100:
                frame = await asyncio.wait_for(peer.mailbox.get(), 20)  # type: ignore[attr-defined]
                if frame.WhichOneof("frame") == "grant":
                    granted.append(frame.grant.request_id)
                    await peer.finish(frame.grant.request_id)  # type: ignore[attr-defined]

        await asyncio.gather(drive(one, "one"), drive(two, "two"))
        assert len(granted) == len(set(granted)) == 200


async def test_redis_that_evicts_is_refused(settings: RouterSettings, redis_client: redis.Redis) -> None:
    from services.shared.settings import WrongSettings

    redis_client.config_set("maxmemory-policy", "allkeys-lru")
    router = RouterApp(settings)
    try:
        with pytest.raises(WrongSettings, match="allkeys-lru"):
            await router.start()
    finally:
        redis_client.config_set("maxmemory-policy", "noeviction")
        await router.stop()
