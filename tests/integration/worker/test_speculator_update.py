"""A worker's speculator changes while it serves: over gRPC, with a simulated engine."""

from pathlib import Path
from typing import Any

import pytest

from services.shared.manifests import Manifest, make
from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from services.worker.engine.contract import Drafter, SwapFailed
from services.worker.engine.simulated.faults import Faults
from services.worker.status import State
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.gateway import connected
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, publish, publish_speculator
from tests.support.signing import KEY
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2 as pb

CONFIG = "pools: [{name: tide, model: tide, engine: {kind: simulated, max_running: 8, speculation: {model: draft}}}]"
OTHER = FILES | {"model.safetensors": tensor_file(b"others!")}
LONG = pb.Sampling(ignore_eos=True, max_tokens=400)


@pytest.fixture
async def drafting(start_worker: StartWorker, tmp_path: Path, store: ObjectStore) -> WorkerApp:
    """A worker that drafts."""
    (tmp_path / "tidegate.yaml").write_text(CONFIG)
    await publish_speculator(store, await publish(store))
    worker = await start_worker()
    await wait_until(lambda: worker.ready() is None, description="the worker is ready")
    return worker


async def ended(router: Router, delivery_id: str, *, speculator: bool = True) -> router_pb2.Delivery:
    def report() -> router_pb2.Delivery:
        beat = router.heartbeats[-1] if router.heartbeats else router_pb2.Heartbeat()
        return beat.speculator_delivery if speculator else beat.delivery

    ends = (
        router_pb2.DELIVERY_PHASE_COMMITTED,
        router_pb2.DELIVERY_PHASE_FAILED,
        router_pb2.DELIVERY_PHASE_NEEDS_RESTART,
    )
    await wait_until(
        lambda: report().delivery_id == delivery_id and report().phase in ends,
        description=f"update {delivery_id} has ended",
    )
    return report()


def with_other_tokenizer(files: dict[str, bytes]) -> Manifest:
    plain = manifest_of(files).model_dump(exclude={"version", "signature", "signer"})
    return KEY.sign(make(**plain | {"tokenizer_sha256": "1" * 64}))


async def test_the_speculator_changes_under_an_answer_which_goes_on_as_it_would(
    drafting: WorkerApp, router: Router, store: ObjectStore
) -> None:
    old = drafting.engine.info.draft_version
    new = await publish_speculator(store, manifest_of(FILES), acceptance=1.0)
    async with connected(drafting.address) as gateway:
        await gateway.start(1, sampling=LONG)
        await gateway.end_of(1)
        await gateway.start(2, sampling=LONG)
        await wait_until(lambda: gateway.tokens(2), description="tokens flow")
        router.order_update("forth", new.version, speculator=True)
        assert (await ended(router, "forth")).phase == router_pb2.DELIVERY_PHASE_COMMITTED
        assert not (await gateway.end_of(2)).HasField("failure")
        assert gateway.tokens(2) == gateway.tokens(1)
    beat = router.heartbeats[-1]
    assert (beat.speculator_version, beat.model_version) == (new.version, manifest_of(FILES).version)
    assert old != new.version
    assert State.SWAPPING not in router.states, "nobody was held for it"


async def test_a_speculator_that_does_not_load_gives_way_to_the_old_one(
    drafting: WorkerApp, router: Router, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, swap = drafting.engine.info.draft_version, drafting.engine.swap_draft

    async def fails_once(drafter: Drafter) -> None:
        monkeypatch.setattr(drafting.engine, "swap_draft", swap)
        raise SwapFailed("a bad sector", intact=False)

    monkeypatch.setattr(drafting.engine, "swap_draft", fails_once)
    new = await publish_speculator(store, manifest_of(FILES), acceptance=0.1)
    router.order_update("forth", new.version, speculator=True)
    report = await ended(router, "forth")
    assert (report.phase, report.reason) == (router_pb2.DELIVERY_PHASE_FAILED, "a bad sector")
    assert drafting.engine.info.draft_version == old
    assert drafting.ready() is None
    router.order_update("again", new.version, speculator=True)
    assert (await ended(router, "again")).phase == router_pb2.DELIVERY_PHASE_COMMITTED


async def test_a_worker_without_any_working_speculator_ends(
    drafting: WorkerApp, router: Router, store: ObjectStore, faults: Faults
) -> None:
    old = drafting.engine.info.draft_version
    new = await publish_speculator(store, manifest_of(FILES), acceptance=0.1)
    faults.draft_swap = "out of memory"
    router.order_update("forth", new.version, speculator=True)
    report = await ended(router, "forth")
    assert report.phase == router_pb2.DELIVERY_PHASE_FAILED
    assert "the old speculator could not be put back: out of memory" in report.reason
    assert drafting.engine.info.draft_version == old
    await wait_until(drafting.ended.is_set, description="it ends")


@pytest.mark.parametrize(
    ("changed", "phase", "said"),
    [
        ({"target": f"sea@{'e' * 64}"}, router_pb2.DELIVERY_PHASE_FAILED, "drafts for sea, and the pool serves tide"),
        ({"vocab_size": 7}, router_pb2.DELIVERY_PHASE_FAILED, "made for another tokenizer"),
        ({"tokens": 5}, router_pb2.DELIVERY_PHASE_NEEDS_RESTART, "it drafts 5 tokens, this engine 3"),
    ],
)
async def test_what_does_not_fit_is_refused_and_what_cannot_change_in_place_needs_a_restart(
    drafting: WorkerApp,
    router: Router,
    store: ObjectStore,
    changed: dict[str, Any],
    phase: router_pb2.DeliveryPhase.ValueType,
    said: str,
) -> None:
    old = drafting.engine.info.draft_version
    new = await publish_speculator(store, manifest_of(FILES), **changed)
    router.order_update("forth", new.version, speculator=True)
    report = await ended(router, "forth")
    assert (report.phase, said in report.reason) == (phase, True), report
    assert drafting.ready() is None
    assert drafting.engine.info.draft_version == old


async def test_a_version_of_the_model_keeps_its_speculator_or_is_refused(
    drafting: WorkerApp, router: Router, store: ObjectStore
) -> None:
    draft = drafting.engine.info.draft_version
    router.order_update("forth", (await publish(store, OTHER)).version)
    assert (await ended(router, "forth", speculator=False)).phase == router_pb2.DELIVERY_PHASE_COMMITTED
    assert drafting.engine.info.draft_version == draft
    strange = await publish(store, OTHER, with_other_tokenizer(OTHER))
    router.order_update("further", strange.version)
    report = await ended(router, "further", speculator=False)
    assert report.phase == router_pb2.DELIVERY_PHASE_FAILED
    assert "publish one for this version (`tidegate models import-speculator SOURCE --target tide`)" in report.reason
    assert drafting.engine.info.model_version == manifest_of(OTHER).version


async def test_a_speculator_is_staged_ahead_of_its_rollout(
    drafting: WorkerApp, router: Router, store: ObjectStore, tmp_path: Path
) -> None:
    new = await publish_speculator(store, manifest_of(FILES), acceptance=0.9)
    router.order_stage("ahead", new.version, speculator=True)
    await wait_until(
        lambda: router.heartbeats[-1].staging.phase == router_pb2.STAGING_PHASE_STAGED, description="it is staged"
    )
    assert (tmp_path / "cache" / new.version / "config.json").exists()
    wrong = await publish_speculator(store, manifest_of(FILES), vocab_size=7)
    router.order_stage("wrong", wrong.version, speculator=True)
    await wait_until(
        lambda: router.heartbeats[-1].staging.phase == router_pb2.STAGING_PHASE_FAILED, description="it is refused"
    )
    assert "made for another tokenizer" in router.heartbeats[-1].staging.reason
    router.order_update("forth", new.version, speculator=True)
    assert (await ended(router, "forth")).phase == router_pb2.DELIVERY_PHASE_COMMITTED
    await wait_until(lambda: not router.heartbeats[-1].HasField("staging"), description="nothing is kept ahead")


async def test_a_worker_starts_with_the_speculator_that_the_router_names_and_says_so(
    start_worker: StartWorker, tmp_path: Path, router: Router, store: ObjectStore
) -> None:
    (tmp_path / "tidegate.yaml").write_text(CONFIG)
    tide = await publish(store)
    rolled_out = await publish_speculator(store, tide, acceptance=0.3)
    await publish_speculator(store, tide, acceptance=0.9)
    router.start = router_pb2.AttachWelcome(speculator_version=rolled_out.version, speculator_delivery_id="forth")
    worker = await start_worker()
    assert (await ended(router, "forth")).phase == router_pb2.DELIVERY_PHASE_COMMITTED
    assert worker.engine.info.draft_version == rolled_out.version


async def test_a_worker_does_not_start_with_a_speculator_for_another_model(
    start_worker: StartWorker, tmp_path: Path, store: ObjectStore
) -> None:
    (tmp_path / "tidegate.yaml").write_text(CONFIG)
    tide = await publish(store)
    await publish_speculator(store, tide, target=f"sea@{'e' * 64}")
    worker = await start_worker()
    await wait_until(worker.ended.is_set, description="it ends")
    assert worker.failure
    assert worker.failure.startswith("pools.tide.engine.speculation.model = draft@")
    assert "name one of its own" in worker.failure
