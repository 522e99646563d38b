"""The gate of a rollout over two replicas on one Redis: requests of both versions are counted, and a worse one goes."""

import time
from collections.abc import AsyncIterator

import grpc
import pytest
import redis

from services.router.app import RouterApp
from services.router.core.figures import WINDOW_S
from services.router.settings import RouterSettings
from services.shared.clock import SystemClock
from services.shared.rpc import channel
from tests.integration.router.test_rollouts import NEW, OLD, Operator, operator
from tests.support.peers import Gateway, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

WINDOWS = 3
IN_WINDOW = 80
PATIENCE_S = 60.0


class SkippingClock(SystemClock):
    """Delays are real. The time of day stands still until the test skips seconds, however busy the machine is."""

    def __init__(self) -> None:
        self.skipped = 0.0
        self._began = time.time()

    def wall(self) -> float:
        return self._began + self.skipped


Cluster = tuple[RouterApp, RouterApp, SkippingClock]


@pytest.fixture
def settings(settings: RouterSettings) -> RouterSettings:
    """Leases that do not lapse on a busy machine."""
    return settings.model_copy(update={"session_lease_ms": 30_000, "worker_lease_ms": 30_000})


@pytest.fixture
async def cluster(settings: RouterSettings) -> AsyncIterator[Cluster]:
    clock = SkippingClock()
    first, second = RouterApp(settings, clock=clock), RouterApp(settings, clock=clock)
    await first.start()
    await second.start()
    yield first, second, clock
    await first.stop()
    await second.stop()


async def send(client: Gateway, window: int, *, new_token_us: int, requests: int = IN_WINDOW) -> None:
    """Requests that all run at the same time; both workers get as many."""
    names = [f"{window}-{number}" for number in range(requests)]
    for name in names:
        await client.submit(name)
    for _ in names:
        grant = await client.next("grant")
        assert isinstance(grant, pb.Grant)
        served = pb.Served(
            model_version=grant.model_version,
            worker_id=grant.worker_id,
            service_class=pb.SERVICE_CLASS_DEFAULT,
            token_us=new_token_us if grant.model_version == NEW else 20_000,
            choice_tokens=50,
        )
        await client.finish(grant.request_id, served=served, prompt_tokens=10, completion_tokens=50)


def seen(gate: pb.GateVerdict) -> int:
    """Requests that the gate knows of."""
    return sum(figure.old_requests + figure.new_requests for figure in gate.figures if figure.figure == "errors")


async def counted(ops: Operator, requests: int) -> pb.GateVerdict:
    async def known() -> bool:
        return seen((await ops.rollout()).gate) >= requests

    await wait_until(known, description=f"{requests} requests are counted", timeout=PATIENCE_S)
    return (await ops.rollout()).gate


async def compares(*routers: RouterApp) -> None:
    await wait_until(
        lambda: all(router._gate._open for router in routers), description="the gates are open", timeout=PATIENCE_S
    )


async def test_a_slower_version_goes_back_and_the_figure_is_named_though_a_replica_stops(
    cluster: Cluster, settings: RouterSettings
) -> None:
    one, two, clock = cluster
    stopping = RouterApp(settings, clock=clock)
    await stopping.start()
    async with (
        worker(one.address, "w1", version=OLD, slots=IN_WINDOW) as w1,
        worker(two.address, "w2", version=OLD, slots=IN_WINDOW) as w2,
        operator(one.address) as ops,
    ):
        await ops.start()
        forth = await w1.asked()
        assert not (await ops.rollout()).gate.opened_ms
        await w1.delivered(forth)
        await w2.delivered(await w2.asked(), "staging")
        await compares(one, two, stopping)
        async with gateway(stopping.address) as client:
            await send(client, 0, new_token_us=26_000)
            first = await counted(ops, IN_WINDOW)
        assert first.decision == pb.GATE_DECISION_WAIT
        assert first.reason.startswith("needs 100 requests to each version; new and old so far: ")
        await stopping.stop()
        async with gateway(two.address) as client:
            for window in range(1, WINDOWS):
                clock.skipped = window * WINDOW_S
                await send(client, window, new_token_us=26_000)
                await counted(ops, IN_WINDOW * (window + 1))
        await w2.delivered(await w2.asked(forth.delivery_id))
        back = await w1.asked(forth.delivery_id)
        assert back.model_version == OLD
        await w1.delivered(back)
        failed = await ops.until(pb.ROLLOUT_STATE_FAILED)
        assert failed.reason.startswith("tpot of default: 25.9 ms, +28% (old version: 20.3 ms")
        assert "bound: 15%" in failed.reason
        assert failed.gate.decision == pb.GATE_DECISION_FAIL
        assert [figure.figure for figure in failed.gate.figures if figure.worse] == ["tpot"]
        assert {w.model_version for w in failed.workers} == {OLD}
        counts = [
            router._registry.get_sample_value("tidegate_router_gate_failures_total", {"pool": "tide", "figure": "tpot"})
            for router in (one, two)
        ]
        assert sorted(counts) == [0, 1]  # type: ignore[type-var]


async def test_a_version_that_is_as_good_goes_on(cluster: Cluster, redis_client: redis.Redis) -> None:
    one, two, _ = cluster
    async with (
        worker(one.address, "w1", version=OLD, slots=400) as w1,
        worker(two.address, "w2", version=OLD, slots=400) as w2,
        operator(one.address) as ops,
        gateway(two.address) as client,
    ):
        await send(client, 9, new_token_us=0, requests=2)
        await ops.start()
        await w1.delivered(await w1.asked())
        second = await w2.asked()
        await w2.delivered(second, "staging")
        await compares(one, two)
        await send(client, 0, new_token_us=20_000, requests=240)
        gate = await counted(ops, 240)
        assert gate.decision == pb.GATE_DECISION_PASS
        await w2.delivered(second)
        done = await ops.until(pb.ROLLOUT_STATE_DONE)
        assert (done.reason, seen(done.gate)) == ("", 240)
        await wait_until(lambda: not one._gate._open, description="nothing is compared any more")
        keys = [str(key) for key in redis_client.scan_iter("*gates:*")]
        assert len(keys) == 3
        assert all(0 < redis_client.ttl(key) <= 86_400 for key in keys)


async def test_a_pool_without_requests_goes_on_after_each_hold_and_the_history_says_why(cluster: Cluster) -> None:
    one, _, clock = cluster
    async with (
        worker(one.address, "w1", version=OLD) as w1,
        worker(one.address, "w2", version=OLD) as w2,
        worker(one.address, "w3", version=OLD) as w3,
        operator(one.address) as ops,
        channel(one.address) as connection,
    ):
        control = ControlServiceStub(connection)
        request = pb.StartRolloutRequest(
            pool="tide", model_version=NEW, steps=[pb.CanaryStep(workers=1, hold_ms=30_000)], observe_ms=40_000
        )
        await control.StartRollout(request)
        for number, peer in enumerate((w1, w2)):
            await peer.delivered(await peer.asked())

            async def holds(step: int = number + 1) -> bool:
                now = await ops.rollout()
                return (now.step.number, now.step.workers) == (step, step) and now.step.hold_left_ms > 0

            await wait_until(holds, description="the step holds", timeout=PATIENCE_S)
            clock.skipped += 30.0 + 10.0 * number
        await w3.delivered(await w3.asked())
        done = await ops.until(pb.ROLLOUT_STATE_DONE)
        assert done.policy == pb.ROLLOUT_POLICY_CANARY
        events = (await control.ListRolloutEvents(pb.ListRolloutEventsRequest(pool="tide"))).events
        passed = [event.why for event in events if event.kind == pb.ROLLOUT_EVENT_KIND_STEP_PASSED]
        assert passed == ["no request came, so there was nothing to compare"] * 2


async def test_a_version_whose_evaluation_is_worse_is_not_rolled_out_but_may_be_gone_back_to(
    cluster: Cluster, redis_client: redis.Redis
) -> None:
    one, *_ = cluster
    asked = pb.StartRolloutRequest(
        pool="tide", model_version=NEW, evaluation={"held_out_loss": pb.Evaluated(value=3.0, parent=2.5)}
    )
    async with worker(one.address, "w1", version=OLD), channel(one.address) as connection:
        control = ControlServiceStub(connection)
        with pytest.raises(grpc.aio.AioRpcError, match=r"held_out_loss of the version is 3, and 2\.5") as refused:
            await control.StartRollout(asked)
        assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert not redis_client.keys("*rollout*")
        labels = {"pool": "tide", "figure": "evaluation"}
        assert one._registry.get_sample_value("tidegate_router_gate_failures_total", labels) == 1
        asked.without_steps = True
        started = await control.StartRollout(asked)
        assert started.rollout.state == pb.ROLLOUT_STATE_ROLLING
