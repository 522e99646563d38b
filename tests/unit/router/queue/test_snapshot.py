"""What gateways are told of a pool that has no worker now."""

import pytest

from services.router.core.class_rules import Rules
from services.router.core.sizing import Sizing
from services.router.queue.snapshot import PoolRow, Snapshot, WorkerRow
from services.shared.config import Cluster, Pool
from tidegate.router.v1 import router_pb2 as pb

RULES = {"tide": Rules.of_cluster(Cluster(pools=(Pool(name="tide", model="m"),)))}
SERVING = pb.Heartbeat(model_version="v1", context_tokens=4096, adapters=["blue", "red"], epoch=7 * 10**9)
OTHER = pb.Heartbeat(model_version="v2", context_tokens=4096, adapters=["green"], epoch=8 * 10**9)
LOADING = pb.Heartbeat()


def row(*beats: pb.Heartbeat, fewest: int = 0) -> PoolRow:
    workers = tuple(WorkerRow(beat, "ready" if beat.model_version else "loading", 0, 0, 0) for beat in beats)
    return PoolRow("tide", workers, {}, sizing=Sizing(fewest=fewest, adapters=("red",)))


def entry(snapshot: Snapshot) -> pb.Pool:
    (pool,) = snapshot.catalog.pools
    return pool


@pytest.mark.parametrize("fewest", [0, 1])
def test_a_pool_without_workers_keeps_its_adapters_until_a_worker_serves_others(fewest: int) -> None:
    """Clients are told that no worker is there, and not that the model does not exist."""
    snapshot = Snapshot()
    snapshot.update([row(fewest=fewest)], RULES)
    assert list(entry(snapshot).adapters) == ["red"]
    snapshot.update([row(SERVING, fewest=fewest)], RULES)
    assert list(entry(snapshot).model_versions) == ["v1"]
    for gone in (row(fewest=fewest), row(LOADING, fewest=fewest)):
        snapshot.update([gone], RULES)
        pool = entry(snapshot)
        assert (list(pool.adapters), pool.context_tokens, pool.created) == (["blue", "red"], 4096, 7)
        assert (pool.ready_workers, list(pool.model_versions), list(pool.worker_addresses)) == (0, [], [])
    snapshot.update([row(OTHER, fewest=fewest)], RULES)
    assert list(entry(snapshot).adapters) == ["green"]


def test_kv_use_is_of_all_workers_together() -> None:
    beats = [
        pb.Heartbeat(capacity=pb.Capacity(kv_tokens=size), load=pb.Load(kv_tokens_used=used))
        for size, used in ((100, 90), (300, 10))
    ]
    assert row(*beats).kv_use == 0.25
    assert row().kv_use == row(LOADING).kv_use == 0.0
