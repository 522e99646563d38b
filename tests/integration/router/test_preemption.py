"""Preemption: a priority request that would miss its objective preempts running batch work."""

from services.router.app import RouterApp
from tests.support.peers import Gateway, gateway, worker
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]


async def yielded(peer: Gateway) -> str:
    asked = await peer.next("yield")
    assert isinstance(asked, pb.Yield)
    return asked.request_id


async def test_the_latest_batch_request_is_preempted_and_resumes_at_the_head(routers: Routers) -> None:
    async with (
        worker(routers[0].address, slots=2),
        gateway(routers[0].address) as one,
        gateway(routers[1].address) as two,
    ):
        for n in (1, 2):
            await one.submit(f"batch-{n}", "batch")
            assert await one.granted() == f"batch-{n}"
        await one.submit("batch-3", "batch")
        await one.next("queued")
        await two.submit("urgent", "priority", ttft_objective_ms=1)
        await two.next("queued")

        assert await yielded(one) == "batch-2"
        await one.finish("batch-2", outcome="yielded")
        assert await two.granted() == "urgent"
        await one.submit("batch-2", "batch", attempt=2, at_head=True)
        await one.next("queued")
        await two.finish("urgent")
        assert await one.granted() == "batch-2"


async def test_nothing_is_preempted_for_a_class_that_may_not_preempt_or_while_there_is_time(routers: Routers) -> None:
    async with worker(routers[0].address), gateway(routers[0].address) as one:
        await one.submit("batch-1", "batch")
        assert await one.granted() == "batch-1"
        await one.submit("default-1", ttft_objective_ms=1)
        await one.next("queued")
        await one.submit("patient", "priority", ttft_objective_ms=600_000)
        await one.next("queued")
        await one.submit("urgent", "priority", ttft_objective_ms=1)
        await one.next("queued")
        # One is in danger, so one yield; had default or the patient one asked, it would have come before.
        assert await yielded(one) == "batch-1"
        await one.finish("batch-1", outcome="yielded")
        assert await one.granted() == "patient"
        assert one.mailbox.empty()


async def test_a_request_is_preempted_once(routers: Routers) -> None:
    async with worker(routers[0].address, slots=2), gateway(routers[0].address) as one:
        for n in (1, 2):
            await one.submit(f"batch-{n}", "batch")
            assert await one.granted() == f"batch-{n}"
        await one.submit("urgent-1", "priority", ttft_objective_ms=1)
        await one.next("queued")
        assert await yielded(one) == "batch-2"
        await one.submit("urgent-2", "priority", ttft_objective_ms=1)
        await one.next("queued")
        assert await yielded(one) == "batch-1"
