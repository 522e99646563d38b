"""The candidate of a rollout is asked through the gateway: a wrong answer sends the workers back."""

from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore

from services.shared import rpc
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from tests.integration.trainer.served_teacher import Told, answered, failed, served_teacher
from tests.integration.trainer.test_announce import DONE, FAILED, NEW, OLD, ROLLING, TRAINED, QuickClock, Router, served
from tidegate.router.v1 import router_pb2 as pb
from trainer.announce import Announcer, RolloutFailed, Way
from trainer.evaluation_plan import ServedCheck
from trainer.served_checks import ServedChecks

CHECK = ServedCheck(name="capital", prompt="What is the capital of France?", pattern="Paris")


class CanaryRouter(Router):
    """One worker has the new version from the second look on; a rollout that is stopped fails."""

    looks = 0
    policy = pb.ROLLOUT_POLICY_UNSPECIFIED
    stopped: str | None = None

    def _rollout(self, state: "pb.RolloutState.ValueType") -> pb.Rollout:
        rollout = super()._rollout(FAILED if self.stopped else state)
        self.looks += 1
        if self.looks > 2:
            rollout.workers.add(worker_id="w1", state=pb.WORKER_STATE_READY, model_version=NEW)
        return rollout

    async def StartRollout(self, request: pb.StartRolloutRequest, context: rpc.Context) -> pb.StartRolloutResponse:  # noqa: N802
        self.policy = request.policy
        return await super().StartRollout(request, context)

    async def StopRollout(self, request: pb.StopRolloutRequest, context: rpc.Context) -> pb.StopRolloutResponse:  # noqa: N802
        self.stopped = request.why
        return pb.StopRolloutResponse(rollout=self._rollout(FAILED))


@pytest.fixture
async def store() -> ObjectStore:
    store = ObjectStore(MemoryStore())
    await Registry(store).move_alias(Reference("tide"), OLD)
    return store


def told(content: str, version: str = NEW) -> Told:
    status, _, document = answered(content)
    return status, {"x-tidegate-model-version": version}, document


async def roll_out(store: ObjectStore, router: Router, replies: list[Told]) -> list[dict[str, Any]]:
    with served_teacher(lambda _: replies.pop(0)) as gateway:
        way = Way(in_steps=True, checks=ServedChecks([CHECK], 1.0, gateway.endpoint()))
        async with served(router) as address:
            announcer = Announcer(store, [address], None, clock=QuickClock(), random=Random(1))
            await announcer.roll_out("tide", TRAINED, limit_s=60, way=way)
    assert set(gateway.canary) == {"true"}
    return gateway.asked


def router_of(store: ObjectStore, states: list["pb.RolloutState.ValueType"]) -> CanaryRouter:
    return CanaryRouter(store, states, "tide@latest")  # type: ignore[abstract]


async def test_a_candidate_that_answers_well_is_rolled_out(store: ObjectStore) -> None:
    router = router_of(store, [ROLLING] * 5 + [DONE])
    replies = [told("It is Rome.", OLD), failed(503), told("It is Paris.")]
    asked = await roll_out(store, router, replies)
    assert [question["messages"][0]["content"] for question in asked] == [CHECK.prompt] * 3
    assert (router.policy, router.stopped) == (pb.ROLLOUT_POLICY_CANARY, None)
    assert await Registry(store).alias(Reference("tide")) == NEW


async def test_a_candidate_that_answers_wrongly_is_sent_back_while_it_is_a_canary(store: ObjectStore) -> None:
    router = router_of(store, [ROLLING])
    with pytest.raises(RolloutFailed, match=r"0 of 1 generation checks passed: capital: the answer 'It is Rome\.'"):
        await roll_out(store, router, [told("It is Rome.")])
    assert "does not match 'Paris'" in (router.stopped or "")
    assert await Registry(store).alias(Reference("tide")) == OLD


async def test_a_candidate_that_was_too_quick_is_asked_before_its_alias_moves(store: ObjectStore) -> None:
    router = router_of(store, [DONE])
    with pytest.raises(RolloutFailed, match=r"before it could be stopped: 0 of 1 .* No alias has moved"):
        await roll_out(store, router, [told("It is Rome.")])
    assert await Registry(store).alias(Reference("tide")) == OLD
