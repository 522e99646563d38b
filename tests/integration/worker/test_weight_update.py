"""A router orders a weight update while the worker serves: over gRPC, with a simulated engine."""

import time
from pathlib import Path

import pytest

from services.shared.objectstore import ObjectStore
from services.shared.registry import object_name
from services.worker.app import WorkerApp
from services.worker.engine.simulated.faults import Faults
from services.worker.status import State
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.gateway import connected
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, publish
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2 as pb

SHORT = pb.Sampling(ignore_eos=True, max_tokens=20)
LONG = pb.Sampling(ignore_eos=True, max_tokens=480)
OTHER = FILES | {"model.safetensors": tensor_file(b"others!")}


async def ended(router: Router, delivery_id: str) -> router_pb2.Delivery:
    def report() -> router_pb2.Delivery:
        return router.heartbeats[-1].delivery

    last = (router_pb2.DELIVERY_PHASE_COMMITTED, router_pb2.DELIVERY_PHASE_FAILED)
    await wait_until(
        lambda: report().delivery_id == delivery_id and report().phase in last,
        description=f"weight update {delivery_id} has ended",
    )
    return report()


async def test_answers_change_with_the_weights_and_change_back(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old, new = worker.engine.info.model_version, (await publish(store, OTHER)).version
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=SHORT, model_version=old)
        await gateway.end_of(1)
        router.order_update("forth", new)
        assert (await ended(router, "forth")).phase == router_pb2.DELIVERY_PHASE_COMMITTED
        assert (router.heartbeats[-1].model_version, router.states[-1]) == (new, State.READY)
        await gateway.start(2, sampling=SHORT, model_version=new)
        await gateway.end_of(2)
        await gateway.start(3, sampling=SHORT, model_version=old)
        assert (await gateway.end_of(3)).failure.kind == pb.FAILURE_KIND_WRONG_VERSION
        router.order_update("back", old)
        await ended(router, "back")
        await gateway.start(4, sampling=SHORT)
        await gateway.end_of(4)
        assert gateway.tokens(1) == gateway.tokens(4) != gateway.tokens(2)
    assert router.states[-4:] == [State.SWAPPING, State.READY, State.SWAPPING, State.READY]


async def test_a_running_request_ends_with_the_weights_it_began_with(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old, new = worker.engine.info.model_version, (await publish(store, OTHER)).version
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=pb.Sampling(ignore_eos=True, max_tokens=400))
        await wait_until(lambda: gateway.tokens(1), description="tokens flow")
        router.order_update("forth", new)
        await wait_until(lambda: router.states[-1] == State.SWAPPING, description="it holds")
        await gateway.start(2, sampling=SHORT, model_version=old)
        assert not (await gateway.end_of(2)).HasField("failure"), "it had been granted before the hold was known"
        assert not (await gateway.end_of(1)).HasField("failure")
        await ended(router, "forth")
        await gateway.start(3, sampling=pb.Sampling(ignore_eos=True, max_tokens=400))
        await gateway.end_of(3)
        assert gateway.tokens(1)[:20] == gateway.tokens(2)
        assert gateway.tokens(3) != gateway.tokens(1)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (router_pb2.SWAP_MODE_RECOMPUTE, pb.FAILURE_KIND_RECOMPUTE),
        (router_pb2.SWAP_MODE_HAND_OVER, pb.FAILURE_KIND_HAND_OVER),
    ],
)
async def test_a_long_answer_is_given_back_with_all_its_tokens_and_goes_on_with_the_new_weights(
    worker: WorkerApp, router: Router, store: ObjectStore, mode: router_pb2.SwapMode.ValueType, kind: int
) -> None:
    new = (await publish(store, OTHER)).version
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=LONG, credit_tokens=20)  # it never ends by itself
        await wait_until(lambda: gateway.tokens(1), description="tokens flow")
        router.order_update("forth", new, mode=mode)
        assert (await gateway.end_of(1)).failure.kind == kind
        await ended(router, "forth")
        last = gateway.deltas(1)[-1]
        point = pb.ResumePoint(token_ids=gateway.tokens(1), text_offset=last.text_end)
        await gateway.start(2, sampling=LONG, model_version=new, resume=[point])
        await wait_until(lambda: gateway.tokens(2), description="it goes on")
        await gateway.start(3, sampling=LONG, model_version=new)
        own = len(gateway.tokens(1)) + 1
        await wait_until(lambda: len(gateway.tokens(3)) >= own, description="the new weights have said as much")
        assert gateway.tokens(2)[0] == gateway.tokens(3)[own - 1], "what the new weights say there"


async def test_a_gateway_of_an_earlier_release_gets_the_old_weights_to_the_end(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    """It would not know what to do with an answer that is given back."""
    new = (await publish(store, OTHER)).version
    async with connected(worker.address, crosses_versions=False) as gateway:
        await gateway.start(1, sampling=pb.Sampling(ignore_eos=True, max_tokens=400))
        await wait_until(lambda: gateway.tokens(1), description="tokens flow")
        router.order_update("forth", new, mode=router_pb2.SWAP_MODE_RECOMPUTE)
        assert not (await gateway.end_of(1)).HasField("failure")
        assert (await ended(router, "forth")).phase == router_pb2.DELIVERY_PHASE_COMMITTED


async def test_a_flipped_bit_is_refused_with_a_reason_and_the_old_version_answers(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old, manifest = worker.engine.info.model_version, await publish(store, OTHER)
    name = object_name("tide", manifest.version, "model.safetensors")
    _, etag = await store.get(name)
    await store.put_if(name, tensor_file(b"nthers!"), etag)
    router.order_update("forth", manifest.version)
    report = await ended(router, "forth")
    assert "model.safetensors is corrupt" in report.reason
    assert (router.heartbeats[-1].model_version, router.states[-1]) == (old, State.READY)
    assert State.SWAPPING not in router.states


async def test_a_mode_of_a_later_release_is_refused_with_a_reason_and_the_worker_stays_attached(
    worker: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old, new = worker.engine.info.model_version, (await publish(store, OTHER)).version
    router.order_update("forth", new, mode=router_pb2.SwapMode.ValueType(99))
    await ended(router, "forth")
    report = router.heartbeats[-1].delivery
    assert (report.phase, "mode 99" in report.reason) == (router_pb2.DELIVERY_PHASE_FAILED, True)
    assert (worker.engine.info.model_version, router.states[-1]) == (old, State.READY)
    router.order_update("again", new)
    await ended(router, "again")
    assert worker.engine.info.model_version == new


async def test_a_version_that_does_not_fit_on_the_disk_is_refused_with_the_sizes(
    start_worker: StartWorker, router: Router, store: ObjectStore, tmp_path: Path
) -> None:
    old = (await publish(store)).version
    worker = await start_worker(cache_gib=1 / 1024)
    await wait_until(lambda: worker.ready() is None, description="the worker is ready")
    large = await publish(store, FILES | {"model.safetensors": tensor_file(bytes(2 << 20))})
    router.order_update("forth", large.version)
    report = await ended(router, "forth")
    assert report.phase == router_pb2.DELIVERY_PHASE_FAILED
    assert "3 MiB are still to be fetched, 2 MiB more than there is room for" in report.reason
    assert "1 MiB (TIDEGATE_CACHE_GIB)" in report.reason
    assert [folder.name for folder in (tmp_path / "cache").iterdir()] == [old]
    assert worker.engine.info.model_version == old


async def test_an_engine_that_dies_in_a_swap_ends_the_worker_with_a_reason(
    worker: WorkerApp, router: Router, store: ObjectStore, faults: Faults
) -> None:
    faults.swap = "crash"
    router.order_update("forth", (await publish(store, OTHER)).version)
    await wait_until(worker.ended.is_set, description="it gives up")
    assert worker.failure is not None
    assert "crashed while its weights were replaced" in worker.failure


async def test_old_versions_are_removed_but_not_the_previous_one(
    start_worker: StartWorker, router: Router, store: ObjectStore, tmp_path: Path
) -> None:
    await publish(store)
    worker = await start_worker(spare_versions=0)
    await wait_until(lambda: worker.status.state is State.READY, description="the worker is ready")
    versions = [worker.engine.info.model_version]
    for weights in (b"one", b"two", b"three"):
        versions.append((await publish(store, FILES | {"model.safetensors": tensor_file(weights)})).version)
        router.order_update(weights.decode(), versions[-1])
        assert (await ended(router, weights.decode())).phase == router_pb2.DELIVERY_PHASE_COMMITTED
    assert {folder.name for folder in (tmp_path / "cache").iterdir()} == set(versions[1:])


async def test_a_request_that_comes_while_weights_change_goes_back_after_a_moment(
    worker: WorkerApp, router: Router, store: ObjectStore, faults: Faults
) -> None:
    """The router may not know yet; it would grant the request here again at once."""
    old, new = worker.engine.info.model_version, (await publish(store, OTHER)).version
    faults.slowdown = 4.0  # the swap takes 2 s
    async with connected(worker.address) as gateway:
        router.order_update("forth", new, mode=router_pb2.SWAP_MODE_HAND_OVER)
        await wait_until(lambda: worker.status.sealed, description="the weights change")
        began = time.monotonic()
        await gateway.start(1, sampling=SHORT, model_version=old)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_HAND_OVER
        assert time.monotonic() - began >= 0.2
