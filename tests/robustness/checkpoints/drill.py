"""A worker is ordered to load one mutated checkpoint after the other: it refuses each, and the old version answers.

One process: a whole worker with the simulated engine, a store in memory, and a router that listens.
"""

import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import numpy as np
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.engine_settings import SimulatedEngine as SimulatedConfig
from services.shared.objectstore import ObjectStore
from services.worker.app import WorkerApp
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.settings import WorkerSettings
from tests.integration.worker.gateway import Gateway, connected
from tests.integration.worker.router import Router, running_router
from tests.integration.worker.store import publish
from tests.robustness.checkpoints.mutations import KINDS, MODEL, Mutant, good, mutant
from tests.support.signing import KEY
from tests.support.tensor_files import header_of
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2 as pb
from trainer.checkpoint import read
from trainer.errors import WrongCheckpoint
from trainer.sources.simulated import CONFIG

NAN = "NaN or infinity, at import"
_ENGINE = {"context_tokens": 256, "kv_tokens": 2048, "max_running": 8, "step_ms": 0, "sequence_ms": 0, "prefill_ms": 0}
_ASKED = pb.Sampling(ignore_eos=True, max_tokens=8)
_ENDED = (
    router_pb2.DELIVERY_PHASE_COMMITTED,
    router_pb2.DELIVERY_PHASE_FAILED,
    router_pb2.DELIVERY_PHASE_NEEDS_RESTART,
)
# Precision, the type that holds its bits, and bits that are no number: infinity, or NaN.
_NOT_FINITE = (("F32", "<u4", 0x7F800000), ("F32", "<u4", 0xFFC00001), ("F16", "<u2", 0x7C00), ("BF16", "<u2", 0xFF80))


@dataclass
class Report:
    """How many were refused, by kind."""

    refused: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)


@dataclass
class _Bench:
    store: ObjectStore
    router: Router
    worker: WorkerApp
    gateway: Gateway
    version: str
    answer: tuple[int, ...] = ()
    asked: int = 0

    async def ask(self) -> tuple[int, ...]:
        """What the worker answers now."""
        self.asked += 1
        await self.gateway.start(self.asked, sampling=_ASKED)
        await self.gateway.end_of(self.asked)
        said = tuple(self.gateway.tokens(self.asked))
        self.gateway.responses.clear()
        return said

    async def order(self, name: str, version: str) -> router_pb2.Delivery:
        """Orders the worker to change, and waits until that has ended."""
        self.router.order_update(name, version)

        def ended() -> bool:
            last = self.router.heartbeats[-1].delivery
            return last.delivery_id == name and last.phase in _ENDED

        await wait_until(ended, description=f"{name} has ended", timeout=120)
        last = self.router.heartbeats[-1].delivery
        del self.router.heartbeats[:-1]
        return last


async def drill(folder: Path, count: int, seed: int) -> Report:
    """Makes so many mutants, of all kinds in turn, and has a worker ordered to load each."""
    report, kinds = Report(), (*KINDS, NAN)
    async with _bench(folder) as bench:
        for number in range(count):
            kind = kinds[number % len(kinds)]
            if kind == NAN:
                _import(folder / f"import-{number}", Random(f"{seed} {number}"), report)
            else:
                await _order(bench, mutant(kind, seed * 1_000_000 + number), f"{number} ({kind})", report)
        left = {entry.name for entry in (folder / "cache").iterdir()}
        if unknown := {name for name in left if name.startswith(".")}:
            report.violations.append(f"left behind: {unknown}")
    return report


async def _order(bench: _Bench, made: Mutant, name: str, report: Report) -> None:
    for path, content in made.objects.items():
        await bench.store.put_new(path, content)
    end = await bench.order(name, made.version)
    if end.phase != router_pb2.DELIVERY_PHASE_FAILED or made.reason not in end.reason:
        phase = router_pb2.DeliveryPhase.Name(end.phase)
        report.violations.append(f"{name}: {phase}, {end.reason!r} instead of {made.reason!r}")
    elif bench.worker.ready() is not None or bench.worker.engine.info.model_version != bench.version:
        report.violations.append(f"{name}: the worker serves {bench.worker.engine.info.model_version}")
    elif await bench.ask() != bench.answer:
        report.violations.append(f"{name}: the old version answers something else")
    else:
        report.refused[made.kind] += 1
    for path in made.objects:
        await bench.store.delete(path)


def _import(folder: Path, random: Random, report: Report) -> None:
    """Numbers that are none are found before a version is published: no worker ever hears of it."""
    folder.mkdir()
    precision, bits, value = random.choice(_NOT_FINITE)
    numbers = np.frombuffer(random.randbytes(256), dtype=bits) & np.array(0x3FFF, dtype=bits)
    numbers[random.randrange(len(numbers))] = value
    content = numbers.tobytes()
    tensor = {"dtype": precision, "shape": [len(numbers)], "data_offsets": [0, len(content)]}
    (folder / "model.safetensors").write_bytes(header_of({"a": tensor}) + content)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    try:
        read(folder)
    except WrongCheckpoint as error:
        if "a holds NaN or infinity" in str(error):
            report.refused[NAN] += 1
            return
        report.violations.append(f"{folder.name}: {error}")
        return
    report.violations.append(f"{folder.name}: {precision} {value:x} would be published")


@asynccontextmanager
async def _bench(folder: Path) -> AsyncIterator[_Bench]:
    """A worker that serves a good version, and its answer."""
    store, config, clock = ObjectStore(MemoryStore()), folder / "tidegate.yaml", SystemClock()
    config.write_text(f"pools: [{{name: {MODEL}, model: {MODEL}, engine: {{kind: simulated, max_running: 8}}}}]")
    served = await publish(store, good(Random("good")), model=MODEL)
    async with running_router() as router:
        settings = WorkerSettings.model_validate(
            {
                "config": config,
                "listen": "127.0.0.1:0",
                "http_listen": "127.0.0.1:0",
                "pool": MODEL,
                "routers": (router.address,),
                "cache_dir": folder / "cache",
                "s3_endpoint": "http://127.0.0.1:9",
                "s3_access_key": "none",
                "s3_secret_key": "none",
                "trusted_keys": KEY.public,
                "drain_s": 1,
            }
        )
        engine = SimulatedEngine(SimulatedConfig.model_validate(_ENGINE), clock)
        worker = WorkerApp(settings, clock=clock, random=Random(1), engine=engine, store=store)
        await worker.start()
        try:
            await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)
            async with connected(worker.address) as gateway:
                bench = _Bench(store, router, worker, gateway, served.version)
                bench.answer = await bench.ask()
                yield bench
        finally:
            await worker.stop()
