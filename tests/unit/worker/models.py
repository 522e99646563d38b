"""Manifests, signed, and engines for the tests of the worker."""

import hashlib
from pathlib import Path

from services.shared.clock import Clock
from services.shared.engine_settings import SimulatedEngine as Config
from services.shared.manifests import File, Manifest, make
from services.worker.engine.contract import Model
from services.worker.engine.simulated.engine import SimulatedEngine
from services.worker.engine.simulated.faults import Faults
from tests.support.signing import KEY

FREE = {"step_ms": 0, "sequence_ms": 0, "prefill_ms": 0}


def manifest_of(files: dict[str, bytes], model: str = "tide") -> Manifest:
    listed = tuple(File(name=name, size=len(data), sha256=sha256(data)) for name, data in files.items())
    manifest = make(
        model=model,
        created=1,
        architecture="Simulated",
        context_tokens=256,
        vocab_size=4353,
        files=listed,
        weights_sha256=sha256(b"".join(files.values())),
        tokenizer_sha256="0" * 64,
        source="a test",
    )
    return KEY.sign(manifest)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def simulated_model(weights: bytes = b"weights") -> Model:
    return Model(Path("nowhere"), manifest_of({"model.safetensors": weights}))


async def simulated_engine(
    clock: Clock, faults: Faults | None = None, *, costs: dict[str, float] | None = None, **options: int
) -> SimulatedEngine:
    """A small engine; its steps take no time unless `costs` (in ms) are given."""
    given = {"context_tokens": 256, "kv_tokens": 4096} | (costs or FREE) | options
    engine = SimulatedEngine(Config.model_validate(given), clock, faults)
    await engine.start(simulated_model())
    return engine
