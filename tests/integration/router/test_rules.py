"""Class rules changed at run time: for all replicas, with a full queue, and after Redis lost its data."""

import redis

from services.router.app import RouterApp
from services.shared.rpc import channel
from tests.support.peers import gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

Routers = tuple[RouterApp, RouterApp]

RECORD = "tidegate:{tide}:rules"


async def change(address: str, service_class: str, **fields: object) -> pb.ClassPolicy:
    request = pb.SetClassPolicyRequest(
        pool="tide",
        service_class=pb.ServiceClass.Value(f"SERVICE_CLASS_{service_class.upper()}"),
        policy=pb.ClassPolicy(**fields),  # type: ignore[arg-type]
    )
    async with channel(address) as connection:
        return (await ControlServiceStub(connection).SetClassPolicy(request)).policy


async def cap(address: str) -> int:
    """Of default's queue, as a replica has it."""
    async with channel(address) as connection:
        pools = (await ControlServiceStub(connection).ListPools(pb.ListPoolsRequest())).pools
    policies = {row.service_class: row.policy for row in pools[0].classes}
    return policies[pb.SERVICE_CLASS_DEFAULT].max_queued


async def test_a_change_holds_for_every_replica_and_loses_nothing_that_waits(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[1].address) as one:
        await one.submit("running")
        assert await one.granted() == "running"
        waiting = [f"r{n}" for n in range(10)]
        for request_id in waiting:
            await one.submit(request_id)
            await one.next("queued")

        policy = await change(routers[0].address, "default", max_queued=5, ageing_ms=1234)
        assert (policy.max_queued, policy.ageing_ms) == (5, 1234)
        await wait_until(lambda: cap_is(routers[1].address, 5), description="the other replica follows")
        await one.submit("too-much")
        reject = await one.next("reject")
        assert isinstance(reject, pb.Reject)
        assert (reject.request_id, reject.reason) == ("too-much", pb.REJECT_REASON_QUEUE_FULL)

        served = []
        await one.finish("running")
        for _ in waiting:
            served.append(await one.granted())
            await one.finish(served[-1])
        assert served == waiting


async def cap_is(address: str, wanted: int) -> bool:
    return await cap(address) == wanted


async def test_changes_add_up_through_different_replicas(routers: Routers) -> None:
    await change(routers[0].address, "default", max_queued=7)
    await change(routers[1].address, "default", preempts=True)
    policy = await change(routers[0].address, "default", ttft_objective_ms=99)
    assert (policy.max_queued, policy.preempts, policy.ttft_objective_ms) == (7, True, 99)


async def test_a_change_outlives_redis_and_a_replica_that_comes_later_follows_it(
    routers: Routers, redis_client: redis.Redis
) -> None:
    await change(routers[0].address, "default", max_queued=7)
    redis_client.flushall()
    await wait_until(lambda: redis_client.exists(RECORD), description="a replica has put the record back")
    for router in routers:
        assert await cap(router.address) == 7
