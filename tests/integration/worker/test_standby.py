"""A version is staged ahead of its rollout, while the worker serves: simulated engine, store in memory."""

from pathlib import Path

from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from services.worker.app import WorkerApp
from services.worker.status import State
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, publish
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

OTHER = FILES | {"model.safetensors": tensor_file(b"others!")}
THIRD = FILES | {"model.safetensors": tensor_file(b"third!!")}


async def staged(router: Router, stage_id: str) -> pb.Staging:
    """What the worker reports of a stage that has ended."""

    def report() -> pb.Staging:
        return router.heartbeats[-1].staging

    last = (pb.STAGING_PHASE_STAGED, pb.STAGING_PHASE_FAILED)
    await wait_until(lambda: report().stage_id == stage_id and report().phase in last, description=f"{stage_id} ends")
    return report()


async def updated(router: Router, delivery_id: str) -> pb.Delivery:
    def report() -> pb.Delivery:
        return router.heartbeats[-1].delivery

    last = (pb.DELIVERY_PHASE_COMMITTED, pb.DELIVERY_PHASE_FAILED)
    await wait_until(lambda: report().delivery_id == delivery_id and report().phase in last, description=delivery_id)
    return report()


async def test_a_rollout_of_a_staged_version_fetches_nothing(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old, manifest = worker.engine.info.model_version, await publish(store, OTHER)
    router.order_stage("s1", manifest.version)
    router.order_stage("s1", manifest.version)  # routers repeat their orders
    report = await staged(router, "s1")
    size = sum(file.size for file in manifest.files)
    assert (report.phase, report.staged_bytes, report.total_bytes) == (pb.STAGING_PHASE_STAGED, size, size)
    assert list(router.heartbeats[-1].staged_versions) == [old, manifest.version]
    assert (router.heartbeats[-1].model_version, router.states[-1]) == (old, State.READY)
    assert State.SWAPPING not in router.states
    await store.delete(object_name("tide", manifest.version, "model.safetensors"))
    router.order_update("forth", manifest.version)
    assert (await updated(router, "forth")).phase == pb.DELIVERY_PHASE_COMMITTED
    await wait_until(lambda: not router.heartbeats[-1].HasField("staging"), description="it is staged no more")


async def test_a_staged_version_stays_until_another_one_is_staged_or_a_rollout_has_ended(
    start_worker: StartWorker, router: Router, store: ObjectStore, tmp_path: Path
) -> None:
    first = (await publish(store)).version
    worker = await start_worker(spare_versions=0)
    await wait_until(lambda: worker.ready() is None, description="the worker is ready")
    second, third = (await publish(store, OTHER)).version, (await publish(store, THIRD)).version

    def on_disk() -> set[str]:
        return {folder.name for folder in (tmp_path / "cache").iterdir()}

    router.order_stage("s2", second)
    await staged(router, "s2")
    assert on_disk() == {first, second}
    router.order_stage("s3", third)
    await staged(router, "s3")
    assert on_disk() == {first, third}, "one at most"
    router.order_update("to second", second)
    await updated(router, "to second")
    assert on_disk() == {first, second, third}, "an update to another version leaves it there"
    await wait_until(lambda: not router.heartbeats[-1].HasField("staging"), description="the update has ended")
    router.order_update("back", first)
    await updated(router, "back")
    fourth = (await publish(store, FILES | {"model.safetensors": tensor_file(b"fourth!")})).version
    router.order_stage("s4", fourth)
    await staged(router, "s4")
    assert on_disk() == {first, second, fourth}


async def test_a_version_that_cannot_be_staged_names_the_reason_and_the_worker_serves_on(
    start_worker: StartWorker, router: Router, store: ObjectStore, tmp_path: Path
) -> None:
    old = (await publish(store)).version
    worker = await start_worker(cache_gib=1 / 1024)
    await wait_until(lambda: worker.ready() is None, description="the worker is ready")
    large = await publish(store, FILES | {"model.safetensors": tensor_file(bytes(2 << 20))})
    router.order_stage("large", large.version)
    report = await staged(router, "large")
    assert report.phase == pb.STAGING_PHASE_FAILED
    assert "2 MiB more than there is room for" in report.reason
    assert "1 MiB (TIDEGATE_CACHE_GIB)" in report.reason
    router.order_stage("unknown", "0" * 64)
    assert (await staged(router, "unknown")).phase == pb.STAGING_PHASE_FAILED
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == [old]
    assert (router.heartbeats[-1].model_version, router.states[-1]) == (old, State.READY)
    assert list(router.heartbeats[-1].staged_versions) == [old]
