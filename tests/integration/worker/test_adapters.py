"""Adapters on a worker: loaded when asked for, evicted, replaced by new versions, and refused one by one."""

import asyncio
from pathlib import Path

import pytest

from services.shared.manifests import MANIFEST, File, Golden, Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference, Registry, object_name
from services.worker.app import WorkerApp
from services.worker.engine.contract import Sampling
from services.worker.engine.simulated.faults import Faults
from services.worker.engine.simulated.tokens import Oracle, encode
from tests.integration.worker.conftest import StartWorker
from tests.integration.worker.gateway import Gateway, connected
from tests.integration.worker.router import Router
from tests.integration.worker.store import FILES, lora_files, publish, publish_adapter
from tests.support.signing import STRANGER
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2 as pb

SHORT = pb.Sampling(ignore_eos=True, max_tokens=12, temperature=0)
LONG = pb.Sampling(ignore_eos=True, max_tokens=400, temperature=0)


def answer(base: Manifest, adapter: Manifest | None, text: str = "hello", tokens: int = 12) -> list[int]:
    """What the simulated engine says, by its definition alone."""
    weights = base.weights_sha256 + (adapter.version if adapter else "")
    oracle = Oracle(weights, tuple(encode(text)), Sampling(temperature=0.0, ignore_eos=True), 0)
    return [oracle.token(index) for index in range(tokens)]


@pytest.fixture
async def base(store: ObjectStore) -> Manifest:
    return await publish(store)


@pytest.fixture
def start_pool(tmp_path: Path, start_worker: StartWorker, router: Router) -> StartWorker:
    """Starts a worker whose pool serves `tone-*` and `legal@canary`, and has room for two adapters."""

    async def start(**settings: object) -> WorkerApp:
        adapters = "{names: ['tone-*', legal@canary], max_loaded: 2, max_rank: 16, max_cached: 1}"
        pool = f"{{name: tide, model: tide, adapters: {adapters}, engine: {{kind: simulated, max_running: 8}}}}"
        (tmp_path / "tidegate.yaml").write_text(f"pools: [{pool}]")
        worker = await start_worker(**{"adapter_poll_s": 0.05} | settings)
        await wait_until(
            lambda: router.heartbeats and router.heartbeats[-1].state == router_pb2.WORKER_STATE_READY,
            description="the router knows that the worker is ready",
        )
        return worker

    return start


async def ask(gateway: Gateway, stream_id: int, adapter: str, **fields: str) -> list[int]:
    """The tokens of a short answer, which must end well."""
    await gateway.start(stream_id, sampling=SHORT, adapter=adapter, **fields)
    ended = await gateway.end_of(stream_id)
    assert not ended.HasField("failure"), ended.failure
    return gateway.tokens(stream_id)


async def refused(gateway: Gateway, stream_id: int, adapter: str, **fields: str) -> pb.Failure:
    await gateway.start(stream_id, sampling=SHORT, adapter=adapter, **fields)
    return (await gateway.end_of(stream_id)).failure


def started(gateway: Gateway, stream_id: int) -> pb.Started:
    frames = (frame for response in gateway.responses for frame in response.started)
    return next(frame for frame in frames if frame.stream_id == stream_id)


async def test_more_adapters_than_room_each_answer_as_themselves(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, router: Router, tmp_path: Path
) -> None:
    adapters = [await publish_adapter(store, base, f"tone-{number}") for number in range(5)]
    worker = await start_pool()
    assert list(router.heartbeats[-1].adapters) == [f"tone-{number}" for number in range(5)]
    async with connected(worker.address) as gateway:
        asked = [(number, adapters[number * 3 % 5]) for number in range(30)]
        answers = await asyncio.gather(*(ask(gateway, number + 1, adapter.model) for number, adapter in asked))
        for (number, adapter), tokens in zip(asked, answers, strict=True):
            assert tokens == answer(base, adapter)
            assert started(gateway, number + 1).adapter_version == adapter.version
        await gateway.start(100, sampling=SHORT)
        await gateway.end_of(100)
        assert gateway.tokens(100) == answer(base, None)
    assert worker._metrics.adapter_evictions._value.get() >= 3
    folders = list((tmp_path / "cache/adapters").iterdir())
    # Two in the engine, one spare, and the one that was staged last.
    assert len(folders) <= 4
    await wait_until(lambda: len(router.heartbeats[-1].loaded_adapters) == 2, description="two are loaded")


async def test_a_new_version_replaces_the_old_one_under_traffic(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, router: Router
) -> None:
    old = await publish_adapter(store, base, "tone-a")
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        for stream_id in range(1, 8):
            await gateway.start(stream_id, f"prompt {stream_id}", LONG, adapter="tone-a")
        await wait_until(lambda: gateway.tokens(7), description="all streams run")
        new = await publish_adapter(store, base, "tone-a", lora_files("another word"))
        await wait_until(
            lambda: new.version in router.heartbeats[-1].loaded_adapter_versions, description="the new version is there"
        )
        assert await ask(gateway, 20, "tone-a") == answer(base, new)
        assert await ask(gateway, 21, "tone-a", adapter_version=old.version) == answer(base, old)
        for stream_id in range(1, 8):
            assert not (await gateway.end_of(stream_id)).HasField("failure")
            assert gateway.tokens(stream_id) == answer(base, old, f"prompt {stream_id}", 400)
        # Back again, as `tidegate models rollback` does it.
        await Registry(store).move_alias(Reference("tone-a"), old.version)
        await wait_until(
            lambda: old.version in router.heartbeats[-1].loaded_adapter_versions, description="the old one is back"
        )
        assert await ask(gateway, 30, "tone-a") == answer(base, old)


async def test_a_version_that_fails_its_proof_leaves_the_old_one(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, router: Router
) -> None:
    old = await publish_adapter(store, base, "tone-a")
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        await ask(gateway, 1, "tone-a")
        wrong = Golden(prompt_token_ids=(1, 2), expected_token_ids=(3,))
        new = await publish_adapter(store, base, "tone-a", lora_files("wrong"), golden=(wrong,))
        await wait_until(lambda: router.heartbeats[-1].refused_adapters, description="the new version is refused")
        (refusal,) = router.heartbeats[-1].refused_adapters
        assert "does not run as it was published" in refusal.reason
        assert f"{old.version[:12]} goes on" in refusal.reason
        assert await ask(gateway, 2, "tone-a") == answer(base, old)
        assert (await refused(gateway, 3, "tone-a", adapter_version=new.version)).kind == pb.FAILURE_KIND_INVALID


async def test_a_golden_prompt_is_asked_of_the_adapter(
    store: ObjectStore, base: Manifest, start_pool: StartWorker
) -> None:
    plain = await publish_adapter(store, base, "tone-a")
    # Golden prompts are part of what a version is named by, so this one answers otherwise.
    said = answer(base, plain)[:1]
    await publish_adapter(
        store,
        base,
        "tone-b",
        lora_files("tone-a"),
        golden=(Golden(prompt_token_ids=tuple(encode("hello")), expected_token_ids=tuple(said)),),
    )
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        assert "as it was published" in (await refused(gateway, 1, "tone-b")).message


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"r": 64}, "its rank is 64, and the pool serves ranks up to 16"),
        ({"rank_pattern": {"q_proj": 32}}, "its rank is 32"),
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3'"),
    ],
    ids=lambda value: "".join(value) if isinstance(value, dict) else "",
)
async def test_an_adapter_that_cannot_be_served_is_refused_and_the_rest_serves_on(
    store: ObjectStore,
    base: Manifest,
    start_pool: StartWorker,
    router: Router,
    config: dict[str, object],
    reason: str,
) -> None:
    good = await publish_adapter(store, base, "tone-good")
    await publish_adapter(store, base, "tone-bad", lora_files("bad", **config))
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        failure = await refused(gateway, 1, "tone-bad")
        assert failure.kind == pb.FAILURE_KIND_INVALID
        assert reason in failure.message
        assert failure.param == "model"
        await wait_until(
            lambda: [adapter.name for adapter in router.heartbeats[-1].refused_adapters] == ["tone-bad"],
            description="the router hears of it",
        )
        assert list(router.heartbeats[-1].adapters) == ["tone-good"]
        assert await ask(gateway, 2, "tone-good") == answer(base, good)


async def test_an_engine_that_refuses_an_adapter_serves_on(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, faults: Faults
) -> None:
    await publish_adapter(store, base, "tone-a")
    other = await publish_adapter(store, base, "tone-b")
    faults.adapters = {"tone-a": "no such layer"}
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        assert "no such layer" in (await refused(gateway, 1, "tone-a")).message
        assert await ask(gateway, 2, "tone-b") == answer(base, other)


async def test_what_is_listed_is_signed_for_this_base_and_an_adapter(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, router: Router
) -> None:
    other_base = await publish(store, FILES | {"model.safetensors": tensor_file(b"others!")})
    await Registry(store).move_alias(Reference("tide"), base.version)
    await publish_adapter(store, other_base, "tone-other")
    unsigned = await publish_adapter(store, base, "tone-stranger")
    name = object_name("tone-stranger", unsigned.version, MANIFEST)
    _, etag = await store.get(name)
    await store.put_if(name, STRANGER.sign(unsigned).to_json(), etag)
    await publish(store, model="tone-model")
    with_pickle = await publish_adapter(store, base, "tone-pickle", lora_files("x") | {"adapter_model.bin": b"pickle"})
    assert File in {type(file) for file in with_pickle.files}
    await start_pool()
    beat = router.heartbeats[-1]
    assert list(beat.adapters) == []
    reasons = {adapter.name: adapter.reason for adapter in beat.refused_adapters}
    assert f"it is for tide@{other_base.version[:12]}" in reasons.pop("tone-other")
    assert "not among the trusted keys" in reasons.pop("tone-stranger")
    assert "adapter_model.bin" in reasons.pop("tone-pickle")
    assert reasons == {}


async def test_adapters_appear_and_exact_names_have_aliases_of_their_own(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, router: Router
) -> None:
    await start_pool()
    assert list(router.heartbeats[-1].adapters) == []
    legal = await publish_adapter(store, base, "legal")
    await publish_adapter(store, base, "tone-new")
    await publish_adapter(store, base, "unrelated")
    await Registry(store).move_alias(Reference("legal", "canary"), legal.version)
    await wait_until(
        lambda: list(router.heartbeats[-1].adapters) == ["legal", "tone-new"], description="both adapters appear"
    )


async def test_a_weight_update_takes_its_adapters_along(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, router: Router
) -> None:
    new_base = await publish(store, FILES | {"model.safetensors": tensor_file(b"others!")})
    await Registry(store).move_alias(Reference("tide"), base.version)
    old = await publish_adapter(store, base, "tone-old")
    new = await publish_adapter(store, new_base, "tone-new")
    worker = await start_pool()

    async def update(name: str, version: str) -> None:
        router.order_update(name, version)
        await wait_until(
            lambda: (
                router.heartbeats[-1].delivery.delivery_id == name
                and router.heartbeats[-1].delivery.phase == router_pb2.DELIVERY_PHASE_COMMITTED
            ),
            description=f"weight update {name} is committed",
        )

    async with connected(worker.address) as gateway:
        assert await ask(gateway, 1, "tone-old") == answer(base, old)
        await update("forth", new_base.version)
        assert list(router.heartbeats[-1].adapters) == ["tone-new"]
        assert (await refused(gateway, 2, "tone-old")).kind == pb.FAILURE_KIND_INVALID
        assert await ask(gateway, 3, "tone-new") == answer(new_base, new)
        await update("back", base.version)
        assert await ask(gateway, 4, "tone-old") == answer(base, old)


async def test_busy_adapters_make_room_for_one_that_waits(
    store: ObjectStore, base: Manifest, start_pool: StartWorker
) -> None:
    for name in ("tone-a", "tone-b", "tone-c"):
        await publish_adapter(store, base, name)
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        # a and b are never idle: each stream that ends is followed by the next one.
        stop = asyncio.Event()

        async def keep_busy(adapter: str, first_id: int) -> None:
            for stream_id in range(first_id, first_id + 1000):
                if stop.is_set():
                    return
                await ask(gateway, stream_id, adapter)

        busy = [
            asyncio.create_task(keep_busy(adapter, 1000 * number))
            for number, adapter in enumerate(("tone-a", "tone-a", "tone-b", "tone-b"), start=1)
        ]
        await wait_until(lambda: len(worker.status.adapters.loaded) == 2, description="both are loaded")
        await ask(gateway, 1, "tone-c")
        stop.set()
        await asyncio.gather(*busy)


async def test_a_store_that_is_away_fails_only_what_it_is_needed_for(
    store: ObjectStore, base: Manifest, start_pool: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    from services.shared.objectstore import StoreError
    from services.worker.adapters import source

    monkeypatch.setattr(source, "_TRIES", 1)
    first = await publish_adapter(store, base, "tone-a")
    await publish_adapter(store, base, "tone-b")
    worker = await start_pool()
    async with connected(worker.address) as gateway:
        await ask(gateway, 1, "tone-a")

        async def away(*_: object) -> None:
            raise StoreError("the store is away")

        for method in ("get", "open_range", "folders"):
            monkeypatch.setattr(store, method, away)
        assert (await refused(gateway, 2, "tone-b")).kind == pb.FAILURE_KIND_ENGINE
        assert await ask(gateway, 3, "tone-a") == answer(base, first)
        monkeypatch.undo()
        await ask(gateway, 4, "tone-b")


@pytest.mark.parametrize(
    ("mode", "phase"),
    [
        (router_pb2.SWAP_MODE_FINISH, router_pb2.DELIVERY_PHASE_FAILED),
        (router_pb2.SWAP_MODE_RECOMPUTE, router_pb2.DELIVERY_PHASE_COMMITTED),
    ],
)
async def test_an_adapters_answer_stays_with_its_weights(
    store: ObjectStore,
    base: Manifest,
    start_pool: StartWorker,
    router: Router,
    mode: router_pb2.SwapMode.ValueType,
    phase: router_pb2.DeliveryPhase.ValueType,
) -> None:
    """An adapter belongs to one version of its model. When its time is over, the mode decides who gives way."""
    await publish_adapter(store, base, "tone-a")
    worker = await start_pool()
    new = await publish(store, FILES | {"model.safetensors": tensor_file(b"another")})
    async with connected(worker.address) as gateway:
        await gateway.start(1, sampling=LONG, adapter="tone-a", credit_tokens=20)  # it never ends by itself
        await wait_until(lambda: gateway.tokens(1), description="it runs")
        router.order_update("forth", new.version, finish_timeout_ms=100, mode=mode)
        await wait_until(lambda: router.heartbeats[-1].delivery.phase == phase, description="the update has ended")
        if mode == router_pb2.SWAP_MODE_FINISH:
            assert "1 requests that no other worker can continue" in router.heartbeats[-1].delivery.reason
            assert gateway.ended(1) is None
        else:
            assert (await gateway.end_of(1)).failure.kind == pb.FAILURE_KIND_DRAINING
