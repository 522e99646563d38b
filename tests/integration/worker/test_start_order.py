"""A worker starts on the version that its router names, and reports a start that is part of a rollout."""

from services.shared.manifests import make
from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, publish
from tests.support.signing import KEY
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tidegate.router.v1 import router_pb2 as pb

OTHER = FILES | {"model.safetensors": tensor_file(b"others!")}
UNKNOWN = "f" * 64


async def ready(worker: WorkerApp) -> str:
    await wait_until(lambda: worker.ready() is None, description="the worker is ready")
    return worker.engine.info.model_version


def last_report(router: Router) -> tuple[str, int]:
    if not router.heartbeats:
        return "", 0
    return router.heartbeats[-1].delivery.delivery_id, router.heartbeats[-1].delivery.phase


async def test_the_version_of_the_last_rollout_goes_before_the_alias(
    start_worker: StartWorker, store: ObjectStore, router: Router
) -> None:
    rolled_out = (await publish(store)).version
    await publish(store, OTHER)
    router.start = pb.AttachWelcome(model_version=rolled_out)
    assert await ready(await start_worker()) == rolled_out
    assert last_report(router) == ("", 0)


async def test_a_version_that_is_gone_gives_way_to_the_alias(
    start_worker: StartWorker, store: ObjectStore, router: Router
) -> None:
    named = (await publish(store)).version
    router.start = pb.AttachWelcome(model_version=UNKNOWN)
    assert await ready(await start_worker()) == named


async def test_a_start_that_is_part_of_a_rollout_is_reported(
    start_worker: StartWorker, store: ObjectStore, router: Router
) -> None:
    await publish(store)
    version = (await publish(store, OTHER)).version
    router.start = pb.AttachWelcome(model_version=version, delivery_id="forth")
    assert await ready(await start_worker()) == version
    await wait_until(lambda: router.heartbeats[-1].model_version == version, description="it is told")
    assert last_report(router) == ("forth", pb.DELIVERY_PHASE_COMMITTED)


async def test_a_start_that_fails_is_told_before_the_worker_leaves(
    start_worker: StartWorker, store: ObjectStore, router: Router
) -> None:
    await publish(store)
    router.start = pb.AttachWelcome(model_version=UNKNOWN, delivery_id="forth")
    worker = await start_worker()
    await wait_until(lambda: last_report(router) == ("forth", pb.DELIVERY_PHASE_FAILED), description="it has failed")
    assert not worker.ended.is_set()
    assert UNKNOWN in router.heartbeats[-1].delivery.reason
    await wait_until(worker.ended.is_set, description="it ends")
    assert worker.failure


async def test_a_version_with_another_tokenizer_needs_a_restart_and_the_old_one_serves_on(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old = worker.engine.info.model_version
    plain = manifest_of(OTHER)
    changed = make(**plain.model_dump(exclude={"version", "signature", "signer"}) | {"tokenizer_sha256": "1" * 64})
    version = (await publish(store, OTHER, KEY.sign(changed))).version
    router.order_update("forth", version)
    await wait_until(
        lambda: last_report(router) == ("forth", pb.DELIVERY_PHASE_NEEDS_RESTART), description="it has answered"
    )
    assert "tokenizer_sha256 is 1111" in router.heartbeats[-1].delivery.reason
    assert (router.heartbeats[-1].state, router.heartbeats[-1].model_version) == (pb.WORKER_STATE_READY, old)
