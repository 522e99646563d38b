"""A recipe with `rollout: true`: the alias that the pool follows moves when the workers have, and not before."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import grpc
import pytest
from obstore.store import MemoryStore

from services.shared import rpc
from services.shared.manifests import File, Measured, make
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry
from tests.support.clock import ManualClock
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceServicer, add_ControlServiceServicer_to_server
from trainer.announce import Announcer, NotAnnounced, RolloutFailed

OLD = "0" * 64
TRAINED = make(
    model="tide",
    created=1,
    architecture="Simulated",
    context_tokens=256,
    vocab_size=256,
    files=(File(name="model.safetensors", size=1, sha256="0" * 64),),
    weights_sha256="0" * 64,
    tokenizer_sha256="0" * 64,
    source="a test",
    evaluation={"held_out_loss": Measured(value=2.5, parent=2.0), "steps": 40.0},
)
NEW = TRAINED.version
ROLLING, DONE, FAILED = pb.ROLLOUT_STATE_ROLLING, pb.ROLLOUT_STATE_DONE, pb.ROLLOUT_STATE_FAILED


class Router(ControlServiceServicer):
    """Goes from one state to the next each time it is asked; what the alias is then is noted."""

    def __init__(self, store: ObjectStore, states: list["pb.RolloutState.ValueType"], follows: str) -> None:
        self._store, self._states, self._follows = store, states, follows
        self.started: list[tuple[str, str]] = []
        self.evaluation: dict[str, tuple[float, float | None]] = {}
        self.aliases: list[str] = []
        self.running = ""

    def _rollout(self, state: "pb.RolloutState.ValueType") -> pb.Rollout:
        ended = 0 if state == ROLLING else 2
        return pb.Rollout(
            rollout_id="r1",
            pool="tide",
            model_version=self.running,
            state=state,
            ended_ms=ended,
            reason="w1: corrupt",
        )

    async def StartRollout(self, request: pb.StartRolloutRequest, context: rpc.Context) -> pb.StartRolloutResponse:  # noqa: N802
        if self.running:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "another rollout runs")
        self.running = request.model_version
        self.started.append((request.pool, request.model_version))
        for name, measured in request.evaluation.items():
            self.evaluation[name] = (measured.value, measured.parent if measured.HasField("parent") else None)
        return pb.StartRolloutResponse(rollout=self._rollout(ROLLING))

    async def GetRollout(self, request: pb.GetRolloutRequest, context: rpc.Context) -> pb.GetRolloutResponse:  # noqa: N802
        if not self.running:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there was none")
        self.aliases.append(await latest(self._store))
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return pb.GetRolloutResponse(rollout=self._rollout(state))

    async def ListPools(self, request: pb.ListPoolsRequest, context: object) -> pb.ListPoolsResponse:  # noqa: N802
        status = pb.PoolStatus(pool=pb.Pool(name="tide"), model=self._follows)
        return pb.ListPoolsResponse(pools=[status])


def router_of(store: ObjectStore, states: list["pb.RolloutState.ValueType"], follows: str) -> Router:
    return Router(store, states, follows)  # type: ignore[abstract] # the other calls answer UNIMPLEMENTED


class QuickClock(ManualClock):
    async def sleep(self, seconds: float) -> None:
        self._now += seconds


async def latest(store: ObjectStore, which: str = "latest") -> str:
    return await Registry(store).alias(Reference("tide", which))


@pytest.fixture
async def store() -> ObjectStore:
    store = ObjectStore(MemoryStore())
    for which in ("latest", "stable"):
        await Registry(store).move_alias(Reference("tide", which), OLD)
    return store


@asynccontextmanager
async def served(router: Router) -> AsyncIterator[str]:
    server = grpc.aio.server()
    add_ControlServiceServicer_to_server(router, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def announcer(store: ObjectStore, *routers: str) -> Announcer:
    return Announcer(store, routers, None, clock=QuickClock(), random=Random(1))


@pytest.mark.parametrize("follows", ["tide@latest", "tide@stable", f"tide@{OLD}", "other@latest"])
async def test_the_alias_that_the_pool_follows_moves_when_the_rollout_is_done(store: ObjectStore, follows: str) -> None:
    router = router_of(store, [ROLLING, ROLLING, DONE], follows)
    async with served(router) as address:
        await announcer(store, "127.0.0.1:1", address).roll_out("tide", TRAINED, limit_s=60)
    assert router.started == [("tide", NEW)]
    assert router.evaluation == {"held_out_loss": (2.5, 2.0), "steps": (40.0, None)}
    assert router.aliases == [OLD] * 3
    moved = {which for which in ("latest", "stable") if await latest(store, which) == NEW}
    assert moved == {which for which in ("latest", "stable") if follows == f"tide@{which}"}


async def test_a_rollout_that_fails_or_takes_too_long_moves_no_alias(store: ObjectStore) -> None:
    for states, said in (([ROLLING, FAILED], "failed: w1: corrupt"), ([ROLLING], "has not ended within 5 s")):
        async with served(router_of(store, states, "tide@latest")) as address:
            with pytest.raises(RolloutFailed, match=said):
                await announcer(store, address).roll_out("tide", TRAINED, limit_s=5)
        assert await latest(store) == OLD


async def test_a_run_that_is_made_again_follows_the_rollout_that_it_had_started(store: ObjectStore) -> None:
    router = router_of(store, [ROLLING, DONE], "tide@latest")
    router.running = NEW
    async with served(router) as address:
        await announcer(store, address).roll_out("tide", TRAINED, limit_s=60)
    assert (router.started, await latest(store)) == ([], NEW)


async def test_another_rollout_that_runs_is_told(store: ObjectStore) -> None:
    router = router_of(store, [ROLLING], "tide@latest")
    router.running = OLD
    async with served(router) as address:
        with pytest.raises(NotAnnounced, match="another rollout runs"):
            await announcer(store, address).roll_out("tide", TRAINED, limit_s=60)


async def test_a_router_that_nobody_reaches_is_told(store: ObjectStore) -> None:
    with pytest.raises(NotAnnounced, match="no router is known"):
        await announcer(store).roll_out("tide", TRAINED, limit_s=5)
