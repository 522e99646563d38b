"""A whole worker in the test's process: simulated engine, store in memory, a router that listens."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from random import Random

import pytest
from obstore.store import MemoryStore

from services.shared import config as configuration
from services.shared.clock import SystemClock
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.faults import Faults
from services.worker.settings import WorkerSettings
from tests.integration.worker.router import Router, running_router
from tests.integration.worker.store import publish
from tests.support.signing import KEY
from tests.support.wait import wait_until

ENGINE = {"context_tokens": 512, "kv_tokens": 2048, "max_running": 8, "step_ms": 1, "sequence_ms": 0, "prefill_ms": 0}

StartWorker = Callable[..., Awaitable[WorkerApp]]


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


@pytest.fixture
async def router() -> AsyncIterator[Router]:
    async with running_router() as router:
        yield router


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
async def start_worker(
    tmp_path: Path, store: ObjectStore, router: Router, faults: Faults
) -> AsyncIterator[StartWorker]:
    """Starts workers that are stopped after the test. Keywords are settings."""
    workers: list[WorkerApp] = []
    config = tmp_path / "tidegate.yaml"
    config.write_text("pools: [{name: tide, model: tide, engine: {kind: simulated, max_running: 8}}]")

    async def start(**given: object) -> WorkerApp:
        settings = WorkerSettings.model_validate(
            {
                "config": config,
                "listen": "127.0.0.1:0",
                "http_listen": "127.0.0.1:0",
                "pool": "tide",
                "routers": (router.address,),
                "cache_dir": tmp_path / "cache",
                "s3_endpoint": "http://127.0.0.1:9",
                "s3_access_key": "none",
                "s3_secret_key": "none",
                "trusted_keys": KEY.public,
                "drain_s": 5,
            }
            | given
        )
        clock = SystemClock()
        pool = configuration.load(config).pool("tide")
        own = ENGINE | {"speculation": pool.engine.speculation}
        engine = SimulatedEngine(SimulatedConfig.model_validate(own), clock, faults, pool.adapters)
        worker = WorkerApp(settings, clock=clock, random=Random(1), engine=engine, store=store)
        workers.append(worker)
        await worker.start()
        return worker

    yield start
    for worker in workers:
        await worker.stop()


@pytest.fixture
async def worker(start_worker: StartWorker, store: ObjectStore) -> WorkerApp:
    """A worker that is ready and attached to its router."""
    await publish(store)
    worker = await start_worker()
    await wait_until(lambda: worker.ready() is None, description="the worker is ready")
    return worker
