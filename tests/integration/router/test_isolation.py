"""While a tenant is noisy, the isolation pool is denied to it, so that other tenants' prompts stay in these caches."""

from typing import Any

import pytest
import redis

from services.router.app import RouterApp
from tests.support.peers import Gateway, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]

ROOT = "tidegate:{tide}:"
LARGE: dict[str, Any] = {"tenant": "floods", "cost": pb.Cost(prompt_tokens=20_000)}


async def granted(peer: Gateway) -> tuple[str, str]:
    grant = await peer.next("grant")
    assert isinstance(grant, pb.Grant)
    return grant.request_id, grant.worker_id


async def flood(peer: Gateway, slots: int, **fields: Any) -> dict[str, list[str]]:
    """Takes all slots and causes the queue. Returns what runs on each worker."""
    running: dict[str, list[str]] = {}
    for n in range(slots):
        await peer.submit(f"flood-{n}", tenant="floods", cost=pb.Cost(prompt_tokens=100))
        request_id, worker_id = await granted(peer)
        running.setdefault(worker_id, []).append(request_id)
    for n in range(slots, slots + 4):
        await peer.submit(f"flood-{n}", **LARGE, **fields)
        await peer.next("queued")
    return running


async def come_in_between(client: redis.Redis, peer: Gateway, ends: str) -> None:
    """Another tenant's request gets the slot of a request that ends, and counts for the size of the isolation pool."""
    await wait_until(lambda: client.smembers(f"{ROOT}floods") == {"floods"}, description="the flood is noted")
    await peer.submit("other", tenant="others", cost=pb.Cost(prompt_tokens=100))
    await peer.next("queued")
    await peer.finish(ends)
    assert (await granted(peer))[0] == "other"
    await wait_until(lambda: float(client.hget(f"{ROOT}turns", "shelter") or 0) > 0.1, description="it is counted")


async def test_the_isolation_pool_is_denied_to_a_noisy_tenant_and_the_others_go_there_first(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with (
        worker(routers[0].address, "w1", slots=2),
        worker(routers[1].address, "w2", slots=2),
        gateway(routers[0].address) as one,
    ):
        running = await flood(one, slots=4)
        await come_in_between(redis_client, one, ends=running["w1"][0])
        assert redis_client.zrange(f"{ROOT}refuge", 0, -1) == ["w1"]
        await one.finish(running["w1"][1])
        await one.submit("worse", "flex", tenant="others")
        await one.next("queued")
        await one.submit("late", tenant="third", cost=pb.Cost(prompt_tokens=100))
        assert await granted(one) == ("late", "w1"), "it was left free, and is for those within their share"
        await one.finish(running["w2"][0])
        assert await granted(one) == ("flood-4", "w2")


async def test_what_only_the_isolation_pool_can_serve_goes_there(routers: Routers, redis_client: redis.Redis) -> None:
    async with (
        worker(routers[0].address, "w1", slots=2),
        worker(routers[1].address, "w2", slots=2, version="v2"),
        gateway(routers[0].address) as one,
    ):
        running = await flood(one, slots=4, model_version="v1")
        await come_in_between(redis_client, one, ends=running["w1"][0])
        assert redis_client.zrange(f"{ROOT}refuge", 0, -1) == ["w1"]
        await one.finish(running["w1"][1])
        await one.finish(running["w2"][0])
        assert await granted(one) == ("flood-4", "w1")


@pytest.mark.parametrize("others", [True, False])
async def test_there_is_no_isolation_pool_of_a_single_worker_or_without_other_tenants(
    routers: Routers, redis_client: redis.Redis, others: bool
) -> None:
    """One worker with other tenants; two workers without."""
    async with worker(routers[0].address, "w1", slots=2), gateway(routers[0].address) as one:
        if others:
            running = await flood(one, slots=2)
            await come_in_between(redis_client, one, ends=running["w1"][0])
            await one.finish(running["w1"][1])
            assert await granted(one) == ("flood-2", "w1")
            return
        async with worker(routers[1].address, "w2", slots=2):
            running = await flood(one, slots=4)
            await wait_until(lambda: redis_client.exists(f"{ROOT}floods"), description="the flood is noted")
            await one.finish(running["w1"][0])
            await one.finish(running["w2"][0])
            assert {worker_id for _, worker_id in (await granted(one), await granted(one))} == {"w1", "w2"}
