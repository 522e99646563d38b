"""A worker and its router: the worker is known while it loads, its requests are counted, and it says goodbye."""

import asyncio
from pathlib import Path

import pytest

from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.faults import Faults
from services.worker.status import State
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.gateway import connected
from tests.integration.worker.router import Router, running_router
from tests.integration.worker.store import publish
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tidegate.worker.v1 import worker_pb2 as pb

ENDLESS = pb.Sampling(ignore_eos=True)


async def test_it_attaches_while_loading_and_is_ready_once_the_model_is_published(
    start_worker: StartWorker, router: Router, store: ObjectStore
) -> None:
    worker = await start_worker()
    await wait_until(lambda: router.heartbeats, description="it attaches")
    assert router.states == [State.LOADING]
    assert worker.ready() == "loading"
    manifest = await publish(store)
    await wait_until(lambda: router.states[-1] == State.READY, description="it is ready")
    beat = router.heartbeats[-1]
    assert (beat.model_version, beat.pool, beat.address) == (manifest.version, "tide", worker.address)
    assert (beat.capacity.slots, beat.capacity.kv_tokens, beat.context_tokens) == (8, 2048, 512)
    assert worker.ready() is None


async def test_requests_show_at_once_not_at_the_next_interval(worker: WorkerApp, router: Router) -> None:
    """The test's router asks for a heartbeat a minute."""
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=ENDLESS)
        await wait_until(lambda: router.heartbeats[-1].load.running == 1, description="the request shows")
    await wait_until(lambda: router.heartbeats[-1].load.running == 0, description="its end shows")


async def test_a_drain_lets_requests_finish_and_says_goodbye(worker: WorkerApp, router: Router) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=pb.Sampling(ignore_eos=True, max_tokens=200))
        await wait_until(lambda: gateway.tokens(1), description="tokens flow")
        router.drain()
        await wait_until(lambda: router.states[-1] == State.DRAINING, description="it drains")
        await gateway.start(2)
        assert (await gateway.end_of(2)).failure.kind == pb.FAILURE_KIND_DRAINING
        assert not router.goodbyes
        assert not (await gateway.end_of(1)).HasField("failure")
        await wait_until(worker.ended.is_set, description="it has ended")
    assert [goodbye.reason for goodbye in router.goodbyes] == ["DRAINING"]
    assert worker.failure is None


async def test_stopping_says_goodbye(worker: WorkerApp, router: Router) -> None:
    await worker.stop()
    assert len(router.goodbyes) == 1


async def test_it_goes_on_to_another_router(start_worker: StartWorker, store: ObjectStore, router: Router) -> None:
    await publish(store)
    async with running_router() as first:
        worker = await start_worker(routers=(first.address, router.address))
        await wait_until(lambda: first.heartbeats, description="it attaches to the first")
        assert not router.heartbeats
    await wait_until(lambda: router.heartbeats, description="it attaches to the second")
    await wait_until(lambda: worker.ready() is None, description="it is ready")


async def test_an_engine_without_steps_is_stuck_until_it_moves(
    start_worker: StartWorker, store: ObjectStore, router: Router, faults: Faults
) -> None:
    await publish(store)
    worker = await start_worker(stuck_after_s=1.0)
    await wait_until(lambda: worker.live() is None and worker.ready() is None, description="it is ready")
    faults.hang = True
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=ENDLESS)
        await wait_until(lambda: router.states[-1] == State.STUCK, description="it is stuck")
        assert worker.live() == "the engine makes no progress"
        faults.hang = False
        await wait_until(lambda: router.states[-1] == State.READY, description="it moves again")
        assert worker.live() is None


async def test_a_corrupt_model_ends_the_worker_with_a_reason(
    start_worker: StartWorker, store: ObjectStore, tmp_path: Path
) -> None:
    flipped = {"model.safetensors": tensor_file(b"weightt")}
    await publish(store, flipped, manifest_of({"model.safetensors": tensor_file(b"weights")}))
    worker = await start_worker()
    async with asyncio.timeout(20):
        await worker.ended.wait()
    assert worker.failure is not None
    assert "model.safetensors is corrupt" in worker.failure
    assert list((tmp_path / "cache").iterdir()) == []


async def test_an_engine_that_cannot_start_ends_the_worker_with_a_reason(
    start_worker: StartWorker, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def surprise(*_: object) -> None:
        raise KeyError("rope_scaling")

    monkeypatch.setattr(SimulatedEngine, "start", surprise)
    await publish(store)
    worker = await start_worker()
    async with asyncio.timeout(20):
        await worker.ended.wait()
    assert worker.live() == "bring-up: KeyError('rope_scaling')"


async def test_a_drain_hands_over_what_runs_at_its_deadline(worker: WorkerApp, router: Router) -> None:
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=pb.Sampling(ignore_eos=True), credit_tokens=5)
        await wait_until(lambda: len(gateway.tokens(1)) == 5, description="it runs, and would for ever")
        router.drain(timeout_ms=100)
        assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_DRAINING
        await wait_until(worker.ended.is_set, description="the worker has nothing more to do")
    assert worker.failure is None
    assert [goodbye.reason for goodbye in router.goodbyes] == ["DRAINING"]


async def test_an_engine_that_hangs_is_stuck_then_given_up(
    start_worker: StartWorker, store: ObjectStore, router: Router, faults: Faults
) -> None:
    await publish(store)
    worker = await start_worker(stuck_after_s=0.6)
    await wait_until(lambda: worker.status.state is State.READY, description="the worker is ready")
    faults.hang = True
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=pb.Sampling(ignore_eos=True))
        await wait_until(lambda: router.states[-1:] == [State.STUCK], description="the router hears of it")
        assert worker.failure is None
        await wait_until(worker.ended.is_set, description="the process is to be replaced")
    assert "no step" in str(worker.live())
