"""A pool without free slots: urgent requests still find one, and prompts find their caches, within bounds."""

from typing import Any

from services.router.app import RouterApp
from tests.integration.router.test_placement import prompt
from tests.support.peers import Gateway, gateway, worker
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]

OVERTAKING = 3
"""The value in conftest.CONFIG."""
WARM: dict[str, Any] = {**prompt(1, 2, 3)}
COLD: dict[str, Any] = {**prompt(7, 8, 9)}


async def waiting(peer: Gateway, request_id: str, service_class: str = "default", **fields: Any) -> None:
    await peer.submit(request_id, service_class, **fields)
    await peer.next("queued")


async def granted(peer: Gateway) -> tuple[str, str]:
    grant = await peer.next("grant")
    assert isinstance(grant, pb.Grant)
    return grant.request_id, grant.worker_id


async def test_one_slot_of_sixteen_is_reserved_while_there_is_urgent_work(routers: Routers) -> None:
    async with worker(routers[0].address, slots=16), gateway(routers[1].address) as one:
        await one.submit("urgent-1", "priority")
        assert await one.granted() == "urgent-1"
        for n in range(14):
            await one.submit(f"r{n}")
            assert await one.granted() == f"r{n}"
        await waiting(one, "r14")
        await one.submit("urgent-2", "priority")
        assert await one.granted() == "urgent-2"
        await one.finish("urgent-1")
        await waiting(one, "r15")
        await one.finish("urgent-2")
        assert [await one.granted(), await one.granted()] == ["r14", "r15"]


async def test_a_noisy_tenant_leaves_one_slot_of_sixteen_to_tenants_within_their_share(routers: Routers) -> None:
    async with worker(routers[0].address, slots=16), gateway(routers[1].address) as one:
        for n in range(16):
            await one.submit(f"flood-{n}", tenant="floods", cost=pb.Cost(prompt_tokens=100))
            assert await one.granted() == f"flood-{n}"
        for n in range(16, 20):
            await waiting(one, f"flood-{n}", tenant="floods", cost=pb.Cost(prompt_tokens=20_000))
        await waiting(one, "other-1", tenant="others", cost=pb.Cost(prompt_tokens=100))
        await waiting(one, "worse", "flex", tenant="others")
        await one.finish("flood-0")
        assert await one.granted() == "other-1"
        await one.finish("flood-1")
        await one.submit("other-2", tenant="third")
        assert await one.granted() == "other-2"
        await one.finish("worse")
        await one.finish("flood-2")
        assert await one.granted() == "flood-16", "the slot is the flood's again when nobody else comes"


async def test_requests_that_the_free_worker_has_cached_bypass_the_head_as_often_as_allowed(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "w1"),
        gateway(routers[0].address) as one,
    ):
        await one.submit("warm-0", **WARM)
        assert await one.granted() == "warm-0"
        await waiting(one, "cold", **COLD)
        await waiting(one, "backlog", cost=pb.Cost(prompt_tokens=20_000))
        for n in range(OVERTAKING + 1):
            await waiting(one, f"warm-{n + 1}", **WARM)
        for n in range(OVERTAKING):
            await one.finish(f"warm-{n}")
            assert await one.granted() == f"warm-{n + 1}"
        await one.finish(f"warm-{OVERTAKING}")
        assert await one.granted() == "cold"


async def test_a_tenant_that_has_little_waiting_is_not_bypassed(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running", tenant="floods", **WARM)
        assert await one.granted() == "running"
        await waiting(one, "light", tenant="light", **COLD)
        for n in range(3):
            await waiting(one, f"flood-{n}", tenant="floods", **(WARM if n else COLD))
        await one.finish("running")
        assert await one.granted() == "light"


async def test_a_request_that_had_its_turn_is_not_bypassed(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running", **WARM)
        assert await one.granted() == "running"
        await waiting(one, "resumed", attempt=2, at_head=True, **COLD)
        await waiting(one, "warm", **WARM)
        await one.finish("running")
        assert await one.granted() == "resumed"


async def test_a_request_after_a_bypass_does_not_start_behind_all_between_the_two(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running", **WARM)
        assert await one.granted() == "running"
        await waiting(one, "cold", **COLD)
        await waiting(one, "backlog", cost=pb.Cost(prompt_tokens=20_000))
        await waiting(one, "warm", **WARM)
        await one.finish("running")
        assert await one.granted() == "warm"
        await waiting(one, "newcomer", tenant="another", **COLD)
        for request_id, following in (("warm", "newcomer"), ("newcomer", "cold"), ("cold", "backlog")):
            await one.finish(request_id)
            assert await one.granted() == following


async def test_a_request_that_leaves_the_queue_no_longer_waits_for_a_cache(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running", **WARM)
        assert await one.granted() == "running"
        await waiting(one, "cold", **COLD)
        await waiting(one, "warm", **WARM)
        await one.finish("warm")
        await one.finish("running")
        assert await granted(one) == ("cold", "w1")
