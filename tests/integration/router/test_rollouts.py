"""Rollouts over two replicas on one Redis: worker by worker, undone when one fails, carried on when a replica dies."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
import redis

from services.router.app import RouterApp
from services.router.settings import RouterSettings
from services.shared.rpc import channel
from tests.support.peers import Worker, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

Routers = tuple[RouterApp, RouterApp]
OLD, NEW = "0" * 64, "1" * 64


class Operator:
    def __init__(self, stub: ControlServiceStub) -> None:
        self._stub = stub

    async def start(self, version: str = NEW, pool: str = "tide") -> None:
        request = pb.StartRolloutRequest(pool=pool, model_version=version, finish_timeout_ms=1234)
        await self._stub.StartRollout(request)

    async def stop(self) -> None:
        await self._stub.StopRollout(pb.StopRolloutRequest(pool="tide"))

    async def rollout(self) -> pb.Rollout:
        return (await self._stub.GetRollout(pb.GetRolloutRequest(pool="tide"))).rollout

    async def until(self, state: "pb.RolloutState.ValueType") -> pb.Rollout:
        async def reached() -> bool:
            return (await self.rollout()).state == state

        await wait_until(reached, description=pb.RolloutState.Name(state))
        return await self.rollout()


@asynccontextmanager
async def operator(address: str) -> AsyncIterator[Operator]:
    async with channel(address) as connection:
        yield Operator(ControlServiceStub(connection))


async def test_workers_change_one_at_a_time_and_the_goal_stands(routers: Routers) -> None:
    one, two = (router.address for router in routers)
    async with worker(one, "w1", version=OLD) as w1, worker(two, "w2", version=OLD) as w2, operator(two) as ops:
        await ops.start()
        first = await w1.asked()
        assert (first.model_version, first.finish_timeout_ms) == (NEW, 1234)
        w1.heartbeat.state = pb.WORKER_STATE_SWAPPING
        await w1.delivered(first, "swapping")
        async with gateway(one) as client:
            await client.submit("r1")
            grant = await client.next("grant")
            assert isinstance(grant, pb.Grant)
            assert (grant.worker_id, grant.model_version) == ("w2", OLD)
            await client.finish("r1")
        assert [w.delivery.phase for w in (await ops.rollout()).workers] == [pb.DELIVERY_PHASE_SWAPPING, 0]
        w1.heartbeat.state = pb.WORKER_STATE_READY
        await w1.delivered(first)
        await w2.delivered(await w2.asked())
        done = await ops.until(pb.ROLLOUT_STATE_DONE)
        assert (done.previous_version, done.reason) == (OLD, "")
        assert {w.model_version for w in done.workers} == {NEW}
        async with worker(two, "w3", version=OLD) as late:
            assert (await late.asked()).model_version == NEW


async def test_a_failure_puts_those_that_changed_back_and_says_why(routers: Routers) -> None:
    one, two = (router.address for router in routers)
    async with worker(one, "w1", version=OLD) as w1, worker(two, "w2", version=OLD) as w2, operator(one) as ops:
        await ops.start()
        forth = await w1.asked()
        await w1.delivered(forth)
        await w2.delivered(await w2.asked(), "failed", "model.safetensors is corrupt")
        back = await w1.asked(forth.delivery_id)
        assert back.model_version == OLD
        with pytest.raises(grpc.aio.AioRpcError) as busy:
            await ops.start()
        assert busy.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        await w1.delivered(back)
        failed = await ops.until(pb.ROLLOUT_STATE_FAILED)
        assert failed.reason == "w2: model.safetensors is corrupt"
        assert {w.model_version for w in failed.workers} == {OLD}


def told_to_start_on(welcome: pb.AttachWelcome) -> tuple[str, bool]:
    """The version, and whether the start is part of a weight update."""
    return welcome.model_version, bool(welcome.delivery_id)


async def replaced(peer: Worker, address: str) -> None:
    """The worker says that it needs a restart, drains as it is told, and leaves."""
    await peer.delivered(await peer.asked(), "needs_restart", "another tokenizer")
    assert (await peer.drained()).timeout_ms == 1234
    async with worker(address, "newcomer", version="") as newcomer:
        assert told_to_start_on(newcomer.welcome) == (OLD, False)
        await newcomer.goodbye()
    await peer.goodbye()


async def started(peer: Worker, phase: str = "committed", reason: str = "") -> None:
    """The next process reports how its start went."""
    start = pb.Deliver(delivery_id=peer.welcome.delivery_id, model_version=peer.welcome.model_version)
    if phase == "committed":
        peer.heartbeat.state = pb.WORKER_STATE_READY
    await peer.delivered(start, phase, reason)


async def test_workers_that_cannot_change_in_place_are_replaced_one_at_a_time(routers: Routers) -> None:
    one, two = (router.address for router in routers)
    async with worker(one, "w1", version=OLD) as w1, worker(two, "w2", version=OLD) as w2, operator(two) as ops:
        await ops.start()
        await replaced(w1, two)
        async with worker(two, "w1", version="", epoch=2) as next1:
            assert told_to_start_on(next1.welcome) == (NEW, True)
            await started(next1)
            await replaced(w2, one)
            async with worker(one, "w2", version="", epoch=2) as next2:
                await started(next2)
                done = await ops.until(pb.ROLLOUT_STATE_DONE)
                assert {w.model_version for w in done.workers} == {NEW}
                async with worker(two, "w3", version="") as late:
                    assert told_to_start_on(late.welcome) == (NEW, False)


async def test_a_replaced_worker_that_cannot_start_goes_back_to_the_old_version(routers: Routers) -> None:
    one, two = (router.address for router in routers)
    async with worker(one, "w1", version=OLD) as w1, worker(two, "w2", version=OLD) as w2, operator(one) as ops:
        await ops.start()
        await replaced(w1, two)
        async with worker(one, "w1", version="", epoch=2) as next1:
            await started(next1, "failed", "golden prompt 0: token 0 is 1")
            failed = await ops.until(pb.ROLLOUT_STATE_FAILED)
            assert failed.reason == "w1: golden prompt 0: token 0 is 1"
            await next1.goodbye()
        async with worker(two, "w1", version="", epoch=3) as again:
            assert told_to_start_on(again.welcome) == (OLD, False)
        assert w2.heartbeat.model_version == OLD


async def test_a_worker_that_was_replaced_is_replaced_back(routers: Routers) -> None:
    one, two = (router.address for router in routers)
    async with worker(one, "w1", version=OLD) as w1, worker(two, "w2", version=OLD) as w2, operator(one) as ops:
        await ops.start()
        await replaced(w1, two)
        async with worker(one, "w1", version="", epoch=2) as next1:
            await started(next1)
            await w2.delivered(await w2.asked(), "failed", "the disk is full")
            await next1.delivered(await next1.asked(), "needs_restart", "another tokenizer")
            await next1.drained()
            await next1.goodbye()
        async with worker(two, "w1", version="", epoch=3) as again:
            assert told_to_start_on(again.welcome) == (OLD, True)
            await started(again)
            failed = await ops.until(pb.ROLLOUT_STATE_FAILED)
            assert failed.reason == "w2: the disk is full"
            assert {w.model_version for w in failed.workers} == {OLD}


async def test_a_replica_that_dies_leaves_the_rollout_to_the_others(routers: Routers, settings: RouterSettings) -> None:
    dying = RouterApp(settings)
    await dying.start()
    async with worker(routers[0].address, "w1", version=OLD) as w1, worker(routers[1].address, "w2", version=OLD) as w2:
        async with operator(dying.address) as ops:
            await ops.start()
        first = await w1.asked()
        await dying._tasks.stop()
        await dying.stop()
        await w1.delivered(first)
        await w2.delivered(await w2.asked())
        async with operator(routers[0].address) as ops:
            await ops.until(pb.ROLLOUT_STATE_DONE)


async def test_a_worker_that_moves_to_another_replica_goes_on_with_its_delivery(routers: Routers) -> None:
    async with operator(routers[1].address) as ops:
        async with worker(routers[0].address, "w1", version=OLD) as before:
            await ops.start()
            deliver = await before.asked()
        async with worker(routers[1].address, "w1", version=OLD) as after:
            await after.delivered(deliver, "staging")
            await after.delivered(deliver)
            await ops.until(pb.ROLLOUT_STATE_DONE)


async def test_a_worker_that_dies_in_its_delivery_fails_the_rollout(routers: Routers) -> None:
    async with operator(routers[1].address) as ops, worker(routers[1].address, "w2", version=OLD) as w2:
        async with worker(routers[0].address, "w1", version=OLD) as w1:
            await ops.start()
            await w1.asked()
        failed = await ops.until(pb.ROLLOUT_STATE_FAILED)
        assert failed.reason == "w1 was lost while it changed its weights"
        assert w2.heartbeat.model_version == OLD


async def test_an_operator_can_give_a_rollout_up(routers: Routers) -> None:
    async with operator(routers[0].address) as ops, worker(routers[1].address, "w1", version=OLD) as w1:
        await ops.start()
        forth = await w1.asked()
        await w1.delivered(forth, "staging")
        await ops.stop()
        await w1.delivered(forth)
        back = await w1.asked(forth.delivery_id)
        with pytest.raises(grpc.aio.AioRpcError, match="is being undone already: stopped by an operator"):
            await ops.stop()
        await w1.delivered(back)
        assert (await ops.until(pb.ROLLOUT_STATE_FAILED)).reason == "stopped by an operator"


async def test_a_worker_whose_lease_lapses_in_its_delivery_may_come_back(
    routers: Routers, redis_client: redis.Redis
) -> None:
    """As when the only router, or Redis, was away for longer than the lease."""
    async with operator(routers[1].address) as ops:
        async with worker(routers[0].address, "w1", version=OLD) as before:
            await ops.start()
            deliver = await before.asked()
        await wait_until(lambda: not redis_client.keys("*worker:w1"), description="its lease has ended")
        async with worker(routers[1].address, "w1", version=OLD) as after:
            await after.delivered(deliver, "staging")
            await after.delivered(deliver)
            await ops.until(pb.ROLLOUT_STATE_DONE)


async def test_what_cannot_be_rolled_out_is_refused(routers: Routers) -> None:
    async with operator(routers[0].address) as ops:
        for wrong, status in (
            (ops.rollout(), grpc.StatusCode.NOT_FOUND),
            (ops.stop(), grpc.StatusCode.NOT_FOUND),
            (ops.start("latest"), grpc.StatusCode.INVALID_ARGUMENT),
            (ops.start(NEW, "nowhere"), grpc.StatusCode.NOT_FOUND),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await wrong
            assert refused.value.code() == status


async def test_a_request_that_every_worker_is_excluded_from_is_served_all_the_same(routers: Routers) -> None:
    address = routers[0].address
    async with worker(address, "w1"), worker(address, "w2"), gateway(address) as client:
        await client.submit("r1", attempt=3, at_head=True, excluded_workers=["w1", "w2"])
        assert await client.granted() == "r1"
