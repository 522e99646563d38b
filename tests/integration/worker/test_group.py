"""A worker on several nodes: rank 0 and its followers live, change their weights and end together."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import grpc
import pytest

from services.shared import rpc
from services.shared.certificates import Tls
from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from services.shared.settings import WrongSettings
from services.worker.app import WorkerApp
from services.worker.engine.contract import EngineDead, Model
from services.worker.engine.node import Node
from services.worker.engine.simulated.part import SimulatedPart
from services.worker.follower import FollowerApp
from services.worker.settings import FollowerSettings
from services.worker.status import State
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.gateway import connected
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, publish
from tests.integration.worker.test_standby import staged
from tests.integration.worker.test_weight_update import OTHER, SHORT, ended
from tests.support.signing import KEY
from tests.support.tensor_files import tensor_file
from tests.support.tls import Authority
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import group_pb2 as pb
from tidegate.worker.v1 import group_pb2_grpc

START_S = 30.0

StartFollower = Callable[..., Awaitable[FollowerApp]]


class RecordingPart(SimulatedPart):
    """Notes what it was started with; a test can let it fail or die."""

    def __init__(self) -> None:
        super().__init__()
        self.started: list[tuple[Model, Node]] = []
        self.fails = ""

    async def start(self, model: Model, node: Node) -> None:
        self.started.append((model, node))
        if self.fails:
            raise EngineDead(self.fails)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "group.yaml"
    file.write_text("pools: [{name: tide, model: tide, engine: {kind: simulated, max_running: 8, nodes: 2}}]")
    return file


@pytest.fixture
def part() -> RecordingPart:
    return RecordingPart()


@pytest.fixture
def leaders() -> list[WorkerApp]:
    """The workers that followers of the test belong to."""
    return []


@pytest.fixture
def start_leader(start_worker: StartWorker, config: Path, leaders: list[WorkerApp]) -> StartWorker:
    """Starts a worker of two nodes. Keywords are settings."""

    async def start(**given: object) -> WorkerApp:
        leaders.append(await start_worker(config=config, **given))
        return leaders[-1]

    return start


@pytest.fixture
async def start_follower(
    tmp_path: Path, config: Path, store: ObjectStore, part: RecordingPart, leaders: list[WorkerApp]
) -> AsyncIterator[StartFollower]:
    """Starts followers of node 1. Keywords are settings."""
    followers: list[FollowerApp] = []

    async def start(address: str, **given: object) -> FollowerApp:
        settings = FollowerSettings.model_validate(
            {
                "config": config,
                "http_listen": "127.0.0.1:0",
                "pool": "tide",
                "group_address": address,
                "node_rank": 1,
                "cache_dir": tmp_path / "follower",
                "s3_endpoint": "http://127.0.0.1:9",
                "s3_access_key": "none",
                "s3_secret_key": "none",
                "trusted_keys": KEY.public,
                "drain_s": 5,
            }
            | given
        )
        follower = FollowerApp(settings, clock=SystemClock(), random=Random(1), part=part, store=store)
        followers.append(follower)
        await follower.start()
        return follower

    yield start
    # Together: a follower lets its worker drain, and ends after it.
    await asyncio.gather(*(leader.stop() for leader in leaders), *(follower.stop() for follower in followers))


async def group(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore
) -> tuple[WorkerApp, FollowerApp]:
    """Rank 0 and its follower, both ready."""
    await publish(store)
    leader = await start_leader()
    follower = await start_follower(leader.address)
    await wait_until(lambda: leader.ready() is None, description="the worker is ready", timeout=START_S)
    await wait_until(lambda: follower.ready() is None, description="the follower is ready", timeout=START_S)
    return leader, follower


async def test_a_worker_waits_for_its_followers_which_stage_and_run_the_same_version(
    start_leader: StartWorker,
    start_follower: StartFollower,
    store: ObjectStore,
    router: Router,
    part: RecordingPart,
    tmp_path: Path,
) -> None:
    version = (await publish(store)).version
    leader = await start_leader()
    await wait_until(lambda: router.heartbeats, description="it attaches")
    assert leader.ready() == "loading"
    follower = await start_follower(leader.address)
    await wait_until(lambda: leader.ready() is None, description="the worker is ready", timeout=START_S)
    await wait_until(lambda: follower.ready() is None, description="the follower is ready")
    ((model, node),) = part.started
    assert (model.manifest.version, model.folder) == (version, tmp_path / "follower" / version)
    assert (node.rank, node.nodes, node.master, node.address) == (1, 2, "127.0.0.1", "127.0.0.1")
    assert node.port > 0
    assert {beat.worker_id for beat in router.heartbeats} == {leader.status.identity.worker_id}


async def test_a_weight_update_is_staged_on_every_node(
    start_leader: StartWorker,
    start_follower: StartFollower,
    store: ObjectStore,
    router: Router,
    tmp_path: Path,
) -> None:
    leader, _ = await group(start_leader, start_follower, store)
    new = (await publish(store, OTHER)).version
    # Ahead of its rollout too.
    router.order_stage("ahead", new)
    assert (await staged(router, "ahead")).phase == router_pb2.STAGING_PHASE_STAGED
    assert (tmp_path / "follower" / new / "model.safetensors").exists()
    router.order_update("forth", new)
    assert (await ended(router, "forth")).phase == router_pb2.DELIVERY_PHASE_COMMITTED
    assert leader.engine.info.model_version == new
    assert (tmp_path / "follower" / new / "model.safetensors").read_bytes() == OTHER["model.safetensors"]


async def test_what_one_node_cannot_stage_is_refused_and_the_old_version_answers(
    start_leader: StartWorker,
    start_follower: StartFollower,
    store: ObjectStore,
    router: Router,
    tmp_path: Path,
) -> None:
    leader, follower = await group(start_leader, start_follower, store)
    old, manifest = leader.engine.info.model_version, await publish(store, OTHER)
    # Rank 0 has it already, so only the follower meets the damage.
    folder = tmp_path / "cache" / manifest.version
    folder.mkdir()
    for name, content in OTHER.items():
        (folder / name).write_bytes(content)
    name = object_name("tide", manifest.version, "model.safetensors")
    _, etag = await store.get(name)
    await store.put_if(name, tensor_file(b"nthers!"), etag)
    router.order_update("forth", manifest.version)
    report = await ended(router, "forth")
    assert report.phase == router_pb2.DELIVERY_PHASE_FAILED
    assert "node 1: " in report.reason
    assert "model.safetensors is corrupt" in report.reason
    assert (leader.engine.info.model_version, router.states[-1]) == (old, State.READY)
    assert follower.failure is None
    router.order_update("again", (await publish(store, FILES | {"model.safetensors": tensor_file(b"thirds!")})).version)
    assert (await ended(router, "again")).phase == router_pb2.DELIVERY_PHASE_COMMITTED


async def test_a_worker_that_loses_a_follower_ends_with_the_reason(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore, part: RecordingPart
) -> None:
    leader, follower = await group(start_leader, start_follower, store)
    part.death = "a process of vLLM on this node has died"
    await wait_until(follower.ended.is_set, description="the follower gives up")
    await follower.stop()
    await wait_until(leader.ended.is_set, description="the worker gives up")
    assert leader.failure == "the follower of node 1 cannot go on: a process of vLLM on this node has died"


async def test_a_part_that_does_not_start_ends_the_whole_worker(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore, part: RecordingPart
) -> None:
    await publish(store)
    part.fails = "no room"
    leader = await start_leader()
    follower = await start_follower(leader.address)
    await wait_until(follower.ended.is_set, description="the follower gives up", timeout=START_S)
    assert follower.live() == "no room"
    await follower.stop()
    await wait_until(leader.ended.is_set, description="the worker gives up")
    assert leader.failure == "the follower of node 1 cannot go on: no room"


async def test_a_follower_ends_with_its_worker(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore
) -> None:
    leader, follower = await group(start_leader, start_follower, store)
    await leader.stop()
    await wait_until(follower.ended.is_set, description="the follower ends")
    assert follower.failure == "rank 0 has gone"
    assert leader.failure is None


async def test_a_follower_that_is_told_to_stop_lets_the_whole_worker_drain(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore, router: Router
) -> None:
    leader, follower = await group(start_leader, start_follower, store)
    async with connected(leader.address) as gateway:
        await gateway.start(1, sampling=SHORT)
        await wait_until(lambda: gateway.deltas(1), description="the request runs")
        stopping = asyncio.create_task(follower.stop())
        assert not (await gateway.end_of(1)).HasField("failure")
        await wait_until(leader.ended.is_set, description="the worker has drained")
    await leader.stop()
    await stopping
    assert (leader.failure, len(router.goodbyes)) == (None, 1)


async def test_a_second_follower_of_a_node_waits_until_the_first_has_gone(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore
) -> None:
    leader, _ = await group(start_leader, start_follower, store)
    second = await start_follower(leader.address)
    assert second.ready() == "not joined"
    assert (second.failure, leader.failure) == (None, None)


async def test_a_follower_with_other_settings_is_refused(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore, tmp_path: Path
) -> None:
    await publish(store)
    leader = await start_leader()
    other = tmp_path / "other.yaml"
    other.write_text("pools: [{name: tide, model: tide, engine: {kind: simulated, max_running: 9, nodes: 2}}]")
    follower = await start_follower(leader.address, config=other)
    await wait_until(follower.ended.is_set, description="it is refused", timeout=START_S)
    assert "TIDEGATE_CONFIG: the pool 'tide' has other settings" in str(follower.wrong)
    assert leader.failure is None


async def test_a_rank_that_the_pool_does_not_have_stops_the_start(start_follower: StartFollower) -> None:
    with pytest.raises(WrongSettings, match=r"TIDEGATE_NODE_RANK = 2: pools.tide.engine.nodes = 2, so its followers"):
        await start_follower("127.0.0.1:9", node_rank=2)


async def test_a_worker_that_other_nodes_could_not_find_does_not_start(start_leader: StartWorker) -> None:
    with pytest.raises(WrongSettings, match="TIDEGATE_ADVERTISE is not set"):
        await start_leader(listen="0.0.0.0:0")


async def test_with_tls_only_those_whom_the_authority_knows_join(
    start_leader: StartWorker, start_follower: StartFollower, store: ObjectStore, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    own, theirs = authority.issue("worker"), authority.issue("follower")
    await publish(store)
    leader = await start_leader(**_files(own))
    membership = pb.JoinRequest(membership=pb.Membership(pool="tide", node_rank=1))
    async with rpc.channel(leader.address) as channel:
        call = group_pb2_grpc.GroupServiceStub(channel).Join(iter([membership]))
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await anext(aiter(call))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    follower = await start_follower(leader.address, **_files(theirs))
    await wait_until(lambda: follower.ready() != "not joined", description="it joins", timeout=START_S)
    assert (leader.failure, follower.failure) == (None, None)


def _files(tls: Tls) -> dict[str, object]:
    return {"tls_certificate": tls.certificate, "tls_key": tls.key, "tls_authority": tls.authority}
