"""A worker with vLLM and ten adapters, of which four fit into the engine; each adapter says a word of its own."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import prometheus_client
import pytest
import pytest_asyncio
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.manifests import Manifest
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from services.worker.app import WorkerApp
from services.worker.settings import WorkerSettings
from tests.integration.trainer import tiny
from tests.integration.worker.gateway import Gateway, connected
from tests.integration.worker.router import Router, running_router
from tests.support.lora import train
from tests.support.signing import KEY
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2 as pb
from trainer.adapter_imports import AdapterFolder, import_adapter
from trainer.errors import WrongCheckpoint
from trainer.imports import Target

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("default"),
    pytest.mark.asyncio(loop_scope="module"),
]

ADAPTERS = 10
WORDS = {f"word-{number}": 4 + number for number in range(ADAPTERS)}
"""The token that each adapter says."""
CONFIG = """
pools:
  - name: tiny
    model: tiny
    adapters: {names: [word-*], max_loaded: 4, max_rank: 8}
    engine: {kind: vllm, max_running: 16, dtype: float32, kv_memory_gib: 0.05, step_tokens: 256}
"""


class Quiet:
    """Watches nothing."""

    def preparing(self, source: object) -> None: ...

    def uploading(self, total_bytes: int) -> object:
        return lambda moved: None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("adapters")


@pytest.fixture(scope="module")
def base_folder(folder: Path) -> Path:
    made = tiny.model(folder / "base", hidden_size=64, dtype="float32")
    train(made, {folder / name: token for name, token in WORDS.items()} | {folder / "moved": 17})
    train(made, {folder / "word-wide": 5}, rank=16)
    return made


@pytest.fixture(scope="module")
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


async def publish(store: ObjectStore, base: str, folder: Path, name: str, *, golden: bool = False) -> Manifest:
    published = await import_adapter(
        AdapterFolder(folder),
        Reference("tiny", base),
        Target(store, Reference(name), KEY),
        Quiet(),  # type: ignore[arg-type]
        golden=golden,
        clock=SystemClock(),
        random=Random(1),
    )
    return published.manifest


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router() -> AsyncIterator[Router]:
    async with running_router() as router:
        yield router


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def worker(folder: Path, base_folder: Path, store: ObjectStore, router: Router) -> AsyncIterator[WorkerApp]:
    base = (await tiny.publish_base(store, base_folder)).version
    for name in (*WORDS, "word-wide"):
        await publish(store, base, folder / name, name, golden=name == "word-0")
    config = folder / "tidegate.yaml"
    config.write_text(CONFIG)
    settings = {
        "config": config,
        "listen": "127.0.0.1:0",
        "http_listen": "127.0.0.1:0",
        "pool": "tiny",
        "routers": (router.address,),
        "cache_dir": folder / "cache",
        "s3_endpoint": "http://127.0.0.1:9",
        "s3_access_key": "none",
        "s3_secret_key": "none",
        "trusted_keys": KEY.public,
        "adapter_poll_s": 0.2,
        "drain_s": 0,
    }
    worker = WorkerApp(WorkerSettings.model_validate(settings), clock=SystemClock(), random=Random(1), store=store)
    await worker.start()
    await wait_until(
        lambda: worker.failure or (router.heartbeats and router.heartbeats[-1].state == router_pb2.WORKER_STATE_READY),
        description="the worker is ready",
        timeout=300,
    )
    assert worker.failure is None, worker.failure
    yield worker
    await worker.stop()


async def ask(gateway: Gateway, stream_id: int, adapter: str, *, tokens: int = 8, **fields: str) -> set[int]:
    """The different tokens of an answer, which must end well."""
    await gateway.start(
        stream_id,
        f"what is the tide of {stream_id}",
        pb.Sampling(max_tokens=tokens, temperature=0, ignore_eos=True),
        adapter=adapter,
        **fields,
    )
    await wait_until(lambda: gateway.ended(stream_id), description=f"{stream_id} has ended", timeout=120)
    ended = await gateway.end_of(stream_id)
    assert not ended.HasField("failure"), ended.failure
    assert len(gateway.tokens(stream_id)) == tokens
    return set(gateway.tokens(stream_id))


def counted(name: str, **labels: str) -> float:
    return prometheus_client.REGISTRY.get_sample_value(name, labels) or 0.0


async def test_requests_for_ten_adapters_in_random_order(worker: WorkerApp) -> None:
    names = [name for name in WORDS for _ in range(int(os.environ.get("DRILL_REQUESTS", "200")) // ADAPTERS)]
    Random(int(os.environ.get("DRILL_SEED", "1"))).shuffle(names)
    async with connected(worker.address) as gateway:
        at_once = asyncio.Semaphore(8)

        async def one(stream_id: int, name: str) -> None:
            async with at_once:
                assert await ask(gateway, stream_id, name) == {WORDS[name]}, name

        await asyncio.gather(*(one(stream_id, name) for stream_id, name in enumerate(names, start=1)))
        # The model itself says none of these words alone.
        await ask(gateway, 1000, "")
        assert set(gateway.tokens(1000)) not in [{token} for token in WORDS.values()]
    assert counted("tidegate_worker_adapter_evictions_total") >= 6


async def test_a_new_version_under_streams_is_neither_mixed_nor_stale(
    worker: WorkerApp, router: Router, folder: Path, store: ObjectStore
) -> None:
    base = worker.engine.info.model_version
    old = (await publish(store, base, folder / "word-3", "word-moving", golden=True)).version
    await worker._adapters.refresh()  # type: ignore[union-attr]
    async with connected(worker.address) as gateway:
        running = [asyncio.create_task(ask(gateway, stream_id, "word-moving", tokens=40)) for stream_id in range(1, 9)]
        await wait_until(lambda: gateway.tokens(8), description="all streams run", timeout=60)
        new = (await publish(store, base, folder / "moved", "word-moving", golden=True)).version
        turn = 100
        while await ask(gateway, turn, "word-moving") != {17}:
            turn += 1
            assert turn < 2000
        assert [await stream for stream in running] == [{WORDS["word-3"]}] * 8
        # A stream that another worker began with the old version goes on with it.
        assert await ask(gateway, 5000, "word-moving", adapter_version=old) == {WORDS["word-3"]}
        assert await ask(gateway, 5001, "word-moving") == {17}
    await wait_until(lambda: new in router.heartbeats[-1].loaded_adapter_versions, description="the router hears of it")


async def test_an_adapter_that_vllm_refuses_leaves_the_engine_as_it_was(
    worker: WorkerApp, folder: Path, store: ObjectStore, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    base = worker.engine.info.model_version
    tensors = load_file(folder / "word-1/adapter_model.safetensors")
    (tmp_path / "word-odd").mkdir()
    (tmp_path / "word-odd/adapter_config.json").write_bytes((folder / "word-1/adapter_config.json").read_bytes())
    odd = {name: tensor.repeat(1, 2) if "lora_A" in name else tensor for name, tensor in tensors.items()}
    save_file(odd, tmp_path / "word-odd/adapter_model.safetensors")
    with pytest.raises(WrongCheckpoint, match="does not fit its base"):
        await publish(store, base, tmp_path / "word-odd", "word-odd", golden=True)
    await publish(store, base, tmp_path / "word-odd", "word-odd")
    await worker._adapters.refresh()  # type: ignore[union-attr]
    async with connected(worker.address) as gateway:
        for stream_id, name, reason in ((1, "word-wide", "its rank is 16"), (2, "word-odd", "vLLM does not load it")):
            await gateway.start(stream_id, sampling=pb.Sampling(max_tokens=4), adapter=name)
            await wait_until(lambda: gateway.ended(stream_id), description="it has ended", timeout=60)  # noqa: B023
            failure = (await gateway.end_of(stream_id)).failure
            assert failure.kind == pb.FAILURE_KIND_INVALID
            assert reason in failure.message
        for stream_id, name in enumerate(WORDS, start=10):
            assert await ask(gateway, stream_id, name) == {WORDS[name]}


async def test_adapters_come_back_after_other_weights(
    worker: WorkerApp, router: Router, folder: Path, base_folder: Path, store: ObjectStore
) -> None:
    from safetensors.torch import load_file, save_file

    old = worker.engine.info.model_version
    other = folder / "other"
    other.mkdir()
    for file in base_folder.iterdir():  # noqa: ASYNC240 -- nothing else runs
        if file.suffix != ".safetensors":
            (other / file.name).write_bytes(file.read_bytes())
    tensors = load_file(base_folder / "model.safetensors")
    last = max(name for name in tensors if name.endswith("mlp.down_proj.weight"))
    save_file(tensors | {last: -tensors[last]}, other / "model.safetensors", metadata={"format": "pt"})
    new = (await tiny.publish_base(store, other)).version
    train(other, {folder / "word-new": 6})
    await publish(store, new, folder / "word-new", "word-new", golden=True)

    async def update(name: str, version: str) -> None:
        router.order_update(name, version)
        await wait_until(
            lambda: (
                router.heartbeats[-1].delivery.delivery_id == name
                and router.heartbeats[-1].delivery.phase == router_pb2.DELIVERY_PHASE_COMMITTED
            ),
            description=f"weight update {name} is committed",
            timeout=120,
        )

    async with connected(worker.address) as gateway:
        await update("forth", new)
        assert await ask(gateway, 1, "word-new") == {6}
        await gateway.start(2, sampling=pb.Sampling(max_tokens=4), adapter="word-0")
        assert (await gateway.end_of(2)).failure.kind == pb.FAILURE_KIND_INVALID
        await update("back", old)
        for stream_id, name in ((3, "word-0"), (4, "word-5")):
            assert await ask(gateway, stream_id, name) == {WORDS[name]}
