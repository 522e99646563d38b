"""Policies of a rollout over two replicas on one Redis: who gets a canary worker, one change-over, the history."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
import redis

from services.cli.clients import rollouts
from services.cli.clients.rollouts import Asker
from services.cli.errors import CommandFailed
from services.router.app import RouterApp
from services.router.core.keys import PoolKeys
from services.shared.rpc import channel
from tests.support.peers import Gateway, Worker, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

Routers = tuple[RouterApp, RouterApp]
OLD, NEW = "0" * 64, "1" * 64
POOL = "tide"
CANARY, ALL_AT_ONCE = pb.ROLLOUT_POLICY_CANARY, pb.ROLLOUT_POLICY_ALL_AT_ONCE


@asynccontextmanager
async def control(router: RouterApp) -> AsyncIterator[ControlServiceStub]:
    async with channel(router.address) as connection:
        yield ControlServiceStub(connection)


async def start(stub: ControlServiceStub, policy: "pb.RolloutPolicy.ValueType") -> None:
    request = pb.StartRolloutRequest(pool=POOL, model_version=NEW, policy=policy, who="ann", why="better answers")
    await stub.StartRollout(request)


async def rollout(stub: ControlServiceStub) -> pb.Rollout:
    return (await stub.GetRollout(pb.GetRolloutRequest(pool=POOL))).rollout


async def holds(stub: ControlServiceStub) -> pb.Rollout:
    """The rollout, once the workers of its step have changed."""

    async def is_held() -> bool:
        return (await rollout(stub)).step.hold_left_ms > 0

    await wait_until(is_held, description="the step is reached")
    return await rollout(stub)


async def ended(stub: ControlServiceStub) -> pb.Rollout:
    async def is_over() -> bool:
        return (await rollout(stub)).ended_ms > 0

    await wait_until(is_over, description="the rollout has ended")
    return await rollout(stub)


async def obey(peer: Worker) -> None:
    """Changes to whatever version the router asks for, again and again."""
    done = ""
    while True:
        order = await peer.asked(done)
        peer.heartbeat.state = pb.WORKER_STATE_SWAPPING
        await peer.delivered(order, "swapping")
        peer.heartbeat.state = pb.WORKER_STATE_READY
        await peer.delivered(order)
        done = order.delivery_id


@asynccontextmanager
async def obedient(stack: AsyncExitStack, address: str, name: str, slots: int) -> AsyncIterator[Worker]:
    peer = await stack.enter_async_context(worker(address, name, version=OLD, slots=slots))
    task = asyncio.create_task(obey(peer))
    try:
        yield peer
    finally:
        task.cancel()


async def granted(client: Gateway, request_id: str, service_class: str = "default", *, canary: bool = False) -> str:
    """The worker that gets the request."""
    await client.submit(request_id, service_class, canary=canary)
    grant = await client.next("grant")
    assert isinstance(grant, pb.Grant)
    return grant.worker_id


async def finished(client: Gateway, redis_client: redis.Redis, *request_ids: str) -> None:
    for request_id in request_ids:
        await client.finish(request_id)
    await wait_until(lambda: not redis_client.keys("*request:*"), description="the requests are over")


async def test_flex_goes_to_the_canary_first_and_priority_last(routers: Routers, redis_client: redis.Redis) -> None:
    async with (
        AsyncExitStack() as stack,
        obedient(stack, routers[0].address, "w1", 1),
        obedient(stack, routers[1].address, "w2", 1),
        obedient(stack, routers[1].address, "w3", 1),
        gateway(routers[0].address) as client,
        control(routers[1]) as stub,
    ):
        await start(stub, CANARY)
        held = await holds(stub)
        assert (held.step.number, held.step.count, held.step.workers) == (1, 4, 1)
        assert [w.worker_id for w in held.workers if w.model_version == NEW] == ["w1"]
        for which, service_class, canary in (("f", "flex", False), ("b", "batch", False), ("pin", "priority", True)):
            assert await granted(client, which, service_class, canary=canary) == "w1"
            # Nobody waits for a side: the next one goes elsewhere.
            assert await granted(client, which + "2", service_class, canary=canary) != "w1"
            await finished(client, redis_client, which, which + "2")
        assert {await granted(client, f"p{n}", "priority") for n in range(2)} == {"w2", "w3"}
        assert await granted(client, "p2", "priority") == "w1"
        # One that waits has its preference too.
        await client.submit("late", "flex")
        await client.next("queued")
        await finished(client, redis_client, "p2", "p0", "p1", "late")


async def test_a_rollout_is_paused_resumed_and_aborted_and_the_history_says_by_whom(routers: Routers) -> None:
    async with (
        AsyncExitStack() as stack,
        obedient(stack, routers[0].address, "w1", 1),
        obedient(stack, routers[1].address, "w2", 1),
        control(routers[0]) as stub,
        control(routers[1]) as other,
    ):
        await start(stub, CANARY)
        await holds(other)
        first, second = ((router.address,) for router in routers)
        bob = Asker(who="bob", why="lunch")
        assert (await rollouts.pause(second, POOL, bob)).paused_by == "bob: lunch"
        resumed = await rollouts.resume(first, POOL, bob)
        assert (resumed.paused_by, resumed.who, resumed.why) == ("", "ann", "better answers")
        await rollouts.abort(second, POOL, Asker(who="bob", why="it is rude"))
        failed = await ended(stub)
        assert (failed.reason, {w.model_version for w in failed.workers}) == ("stopped by bob: it is rude", {OLD})
        for idle in (rollouts.pause(first, POOL, bob), rollouts.resume(second, POOL, bob)):
            with pytest.raises(CommandFailed, match="no rollout of tide is under way"):
                await idle
        shown = [event.event for event in await rollouts.history(first, POOL)]
        assert shown == ["started", "step_reached", "paused", "resumed", "undoing", "failed"]
        events = (await other.ListRolloutEvents(pb.ListRolloutEventsRequest(pool=POOL))).events
        assert [event.who for event in events] == ["ann", "", "bob", "bob", "bob", ""]
        assert [event.why for event in events[:3]] == ["better answers", "", "lunch"]
        assert {(event.policy, event.model_version, event.previous_version) for event in events} == {(CANARY, NEW, OLD)}
        # Nobody asked for a mode: it is the pool's.
        assert {event.mode for event in events} | {failed.mode} == {pb.SWAP_MODE_FINISH}
        after = pb.ListRolloutEventsRequest(pool=POOL, after_revision=events[3].revision)
        kept = await stub.ListRolloutEvents(after)
        assert (list(kept.events), kept.last_revision) == (list(events[4:]), events[-1].revision)


async def test_no_request_starts_on_the_old_version_after_one_has_started_on_the_new(
    routers: Routers, redis_client: redis.Redis
) -> None:
    """A start is a grant. Redis says when each was made, whichever replica asked, and whoever heard of it first."""
    starts: list[tuple[int, str]] = []
    keys = PoolKeys(POOL)

    async def send(client: Gateway, name: str) -> None:
        """Two requests at a time, one after another."""
        for n in range(10**6):
            for half in "ab":
                await client.submit(f"{name}{n}{half}", timeout_ms=20_000)
            for _ in "ab":
                frame = await client.mailbox.get()
                while frame.WhichOneof("frame") != "grant":
                    frame = await client.mailbox.get()
                at_ms: str | None = redis_client.hget(keys.key("request:", frame.grant.request_id), "granted")  # type: ignore[assignment]
                assert at_ms is not None
                starts.append((int(at_ms), frame.grant.model_version))
                await client.finish(frame.grant.request_id)

    async with AsyncExitStack() as stack, control(routers[1]) as stub:
        for n in range(4):
            await stack.enter_async_context(obedient(stack, routers[n % 2].address, f"w{n}", 2))
        clients = [await stack.enter_async_context(gateway(router.address)) for router in routers]
        senders = [asyncio.create_task(send(client, name)) for client, name in zip(clients, "xy", strict=True)]
        await wait_until(lambda: len(starts) > 20, description="requests start on the old version")
        await start(stub, ALL_AT_ONCE)
        done = await ended(stub)
        count = len(starts)
        await wait_until(lambda: len(starts) > count + 20, description="requests start on the new version")
        for task in senders:
            task.cancel()
        assert (done.state, done.admitted_version) == (pb.ROLLOUT_STATE_DONE, NEW)
        on_old, on_new = ([at for at, version in starts if version == which] for which in (OLD, NEW))
        assert len(on_old) + len(on_new) == len(starts)
        assert max(on_old) <= min(on_new)
        kinds = [event.kind for event in (await stub.ListRolloutEvents(pb.ListRolloutEventsRequest(pool=POOL))).events]
        assert pb.ROLLOUT_EVENT_KIND_ADMISSION_CHANGED in kinds
        async with worker(routers[0].address, "late", version=OLD):
            # It stays closed to requests until it has changed.
            await wait_until(
                lambda: redis_client.hget(keys.key("worker:", "late"), "side") == "closed", description="it is closed"
            )
            assert redis_client.zscore(keys.key("free"), "late") is None
