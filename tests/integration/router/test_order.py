"""The order of grants: by class, then by arrival, through any replica."""

from services.router.app import RouterApp
from tests.support.peers import gateway, worker
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]


async def test_a_free_slot_is_granted_at_once(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("r1")
        grant = await one.next("grant")
        assert isinstance(grant, pb.Grant)
        assert (grant.request_id, grant.worker_id, grant.worker_address) == ("r1", "w1", "w1:1")
        assert (grant.worker_epoch, grant.model_version, grant.attempt) == (1, "v1", 1)


async def test_a_later_priority_request_precedes_earlier_default_ones_on_two_replicas(routers: Routers) -> None:
    async with (
        worker(routers[0].address),
        gateway(routers[0].address) as one,
        gateway(routers[1].address) as two,
    ):
        await one.submit("running")
        assert await one.granted() == "running"
        await one.submit("default-1")
        await one.next("queued")
        await two.submit("default-2")
        await two.next("queued")
        await two.submit("priority", "priority")
        queued = await two.next("queued")
        assert isinstance(queued, pb.Queued)
        assert queued.position == 0

        await one.finish("running")
        assert await two.granted() == "priority"
        await two.finish("priority")
        assert await one.granted() == "default-1"
        await one.finish("default-1")
        assert await two.granted() == "default-2"


async def test_classes_go_by_rank_and_arrival(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running")
        assert await one.granted() == "running"
        for request_id in ("batch-1", "flex-1", "default-1", "priority-1", "default-2", "priority-2"):
            await one.submit(request_id, request_id.split("-")[0])
            await one.next("queued")
        served = []
        current = "running"
        for _ in range(6):
            await one.finish(current)
            served.append(current := await one.granted())
        assert served == ["priority-1", "priority-2", "default-1", "default-2", "flex-1", "batch-1"]


async def test_resumed_work_goes_to_the_head_of_its_class(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("running")
        assert await one.granted() == "running"
        await one.submit("fresh")
        await one.next("queued")
        await one.submit("resumed", attempt=2, at_head=True)
        await one.next("queued")
        await one.finish("running")
        assert await one.granted() == "resumed"


async def test_a_request_too_large_for_now_is_not_overtaken(routers: Routers) -> None:
    async with worker(routers[0].address, slots=8, kv_tokens=100), gateway(routers[0].address) as one:
        await one.submit("half", cost=pb.Cost(prompt_tokens=50))
        assert await one.granted() == "half"
        await one.submit("large", cost=pb.Cost(prompt_tokens=90))
        await one.next("queued")
        await one.submit("small", cost=pb.Cost(prompt_tokens=1))
        await one.next("queued")
        await one.finish("half")
        assert await one.granted() == "large"
        assert await one.granted() == "small"


async def test_one_larger_than_any_worker_runs_alone(routers: Routers) -> None:
    async with worker(routers[0].address, slots=8, kv_tokens=100), gateway(routers[0].address) as one:
        await one.submit("huge", cost=pb.Cost(prompt_tokens=5000))
        assert await one.granted() == "huge"
        await one.submit("small", cost=pb.Cost(prompt_tokens=1))
        await one.next("queued")


async def test_load_is_spread_and_an_excluded_worker_is_avoided(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "w1", slots=4),
        worker(routers[1].address, "w2", slots=4),
        gateway(routers[0].address) as one,
    ):
        placed = []
        for n in range(4):
            await one.submit(f"r{n}")
            grant = await one.next("grant")
            assert isinstance(grant, pb.Grant)
            placed.append(grant.worker_id)
        assert sorted(placed) == ["w1", "w1", "w2", "w2"]
        await one.submit("picky", excluded_workers=["w1"])
        grant = await one.next("grant")
        assert isinstance(grant, pb.Grant)
        assert grant.worker_id == "w2"
