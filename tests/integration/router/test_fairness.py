"""Within a class tenants share by the cost of their requests; an aging class gets a share of better classes' turns."""

from typing import Any

from services.router.app import RouterApp
from services.shared.rpc import channel
from tests.support.peers import Gateway, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

Routers = tuple[RouterApp, RouterApp]


async def fill(peer: Gateway) -> None:
    await peer.submit("running")
    assert await peer.granted() == "running"


async def wait_in_line(peer: Gateway, request_id: str, service_class: str = "default", **fields: Any) -> pb.Queued:
    await peer.submit(request_id, service_class, **fields)
    queued = await peer.next("queued")
    assert isinstance(queued, pb.Queued)
    return queued


async def serve_all(finisher: Gateway, served: int, *peers: Gateway) -> list[str]:
    """Ends the running request repeatedly. Returns the order in which the others went; one slot, so one at a time."""
    order, current, owner = [], "running", finisher
    for _ in range(served):
        await owner.finish(current)
        owner, current = await next_grant(*peers)
        order.append(current)
    return order


async def next_grant(*peers: Gateway) -> tuple[Gateway, str]:
    if len(peers) == 1:
        return peers[0], await peers[0].granted()
    await wait_until(lambda: any(not peer.mailbox.empty() for peer in peers), description="somebody is granted")
    peer = next(peer for peer in peers if not peer.mailbox.empty())
    return peer, await peer.granted()


async def test_a_noisy_tenant_delays_another_by_one_turn(routers: Routers) -> None:
    cost = pb.Cost(prompt_tokens=100)
    async with (
        worker(routers[0].address),
        gateway(routers[0].address) as floods,
        gateway(routers[1].address) as modest,
    ):
        await fill(floods)
        for n in range(50):
            await wait_in_line(floods, f"flood-{n}", tenant="loud", cost=cost)
        for n in range(3):
            await wait_in_line(modest, f"modest-{n}", tenant="quiet", cost=cost)
        order = await serve_all(floods, 8, floods, modest)
        assert [order.index(f"modest-{n}") for n in range(3)] == [1, 3, 5]


async def test_a_tenant_of_twice_the_weight_gets_twice_the_turns(routers: Routers) -> None:
    cost = pb.Cost(prompt_tokens=100)
    async with worker(routers[0].address), gateway(routers[1].address) as one:
        await fill(one)
        for n in range(12):
            await wait_in_line(one, f"heavy-{n}", tenant="heavy", weight=2.0, cost=cost)
        for n in range(12):
            await wait_in_line(one, f"light-{n}", tenant="light", weight=1.0, cost=cost)
        order = await serve_all(one, 12, one)
        assert sum(name.startswith("heavy") for name in order) == 8


async def test_a_tenant_that_asks_for_much_waits_behind_its_own_requests(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[1].address) as one:
        await fill(one)
        for n in range(3):
            await wait_in_line(one, f"large-{n}", tenant="large", cost=pb.Cost(prompt_tokens=900))
        for n in range(9):
            await wait_in_line(one, f"small-{n}", tenant="small", cost=pb.Cost(prompt_tokens=100))
        order = await serve_all(one, 11, one)
        assert [order.index(f"large-{n}") for n in range(2)] == [0, 10]


async def test_the_real_cost_moves_the_next_turn(routers: Routers) -> None:
    """Both have the same estimate. The tenant whose request cost far more goes after the other's next requests."""
    cost = pb.Cost(prompt_tokens=100)
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("much", tenant="much", cost=cost)
        assert await one.granted() == "much"
        await wait_in_line(one, "less", tenant="less", cost=cost)
        await one.finish("much", prompt_tokens=100, completion_tokens=10_000)
        assert await one.granted() == "less"
        await wait_in_line(one, "much-2", tenant="much", cost=cost)
        for n in range(5):
            await wait_in_line(one, f"less-{n}", tenant="less", cost=cost)
        await one.finish("less", prompt_tokens=100)
        order = [await one.granted()]
        for _ in range(5):
            await one.finish(order[-1], prompt_tokens=100)
            order.append(await one.granted())
        assert order[-1] == "much-2"


async def test_an_aging_class_gets_every_tenth_turn(routers: Routers) -> None:
    address = routers[0].address
    async with worker(address), gateway(address) as one, channel(address) as connection:
        change = pb.SetClassPolicyRequest(
            pool="tide", service_class=pb.SERVICE_CLASS_DEFAULT, policy=pb.ClassPolicy(ageing_ms=1)
        )
        await ControlServiceStub(connection).SetClassPolicy(change)
        await fill(one)
        for n in range(3):
            await wait_in_line(one, f"default-{n}")
        for n in range(25):
            await wait_in_line(one, f"priority-{n}", "priority")
        order = await serve_all(one, 22, one)
        assert [turn for turn, name in enumerate(order) if name.startswith("default")] == [9, 19]


async def test_a_noisy_tenant_fills_the_queue_only_for_itself(routers: Routers) -> None:
    cost = pb.Cost(prompt_tokens=100)
    async with (
        worker(routers[0].address),
        gateway(routers[0].address) as floods,
        gateway(routers[1].address) as modest,
    ):
        await fill(floods)
        for n in range(3):
            await wait_in_line(floods, f"flood-{n}", "batch", tenant="loud", cost=cost)
        await wait_in_line(modest, "modest", "batch", tenant="quiet", cost=cost)
        reject = await floods.next("reject")
        assert isinstance(reject, pb.Reject)
        assert (reject.request_id, reject.reason) == ("flood-2", pb.REJECT_REASON_QUEUE_FULL)
        assert reject.retry_after_ms > 0

        await floods.submit("flood-3", "batch", tenant="loud", cost=cost)
        reject = await floods.next("reject")
        assert isinstance(reject, pb.Reject)
        assert reject.request_id == "flood-3", "nobody takes room from those who go before"
