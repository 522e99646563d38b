"""A worker that is killed while it downloads a version goes on where it was; memory stays flat.

A real worker with the simulated engine, a real S3 server, and a proxy between them that counts bytes.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psutil

from services.shared.clock import SystemClock
from services.shared.manifests import File, Manifest, make
from services.shared.objectstore import StoreSettings, connect
from services.shared.registry import Reference
from services.shared.safetensors_header import LENGTH_BYTES
from services.shared.transfer import RANGE_BYTES
from tests.integration.worker.router import Router, running_router
from tests.robustness.staging.proxy import Proxy, counting
from tests.support.s3 import running_s3
from tests.support.signing import KEY
from tests.support.tensor_files import header_of, row
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb
from trainer.checkpoint import Folder
from trainer.publish import file_of, point, publish

RANGES = 4
CONFIG = b'{"architectures": ["Simulated"]}'
_MIB = 1 << 20
# The store's answers have headers, and the worker asks for the alias and the manifest.
_BESIDES = 0.01, 512 * 1024
# What a worker takes for buffers of the HTTP client and of the disk, and for what it imports meanwhile.
_BUFFERS = 224 * _MIB
# How much more it may take in the second half of a download than in the first one: nothing grows with the size.
_GROWTH = 48 * _MIB


@dataclass(frozen=True, slots=True)
class Setup:
    """What is published. Sizes in bytes. `speed`: MiB a second that the worker may take; None: all."""

    shards: int
    shard_bytes: int
    kills: int
    seed: int
    speed: float | None = None

    @property
    def size(self) -> int:
        return self.shards * self.shard_bytes


@dataclass
class Report:
    """What was seen. Bytes."""

    size: int
    sent: int = 0
    on_disk: list[int] = field(default_factory=list)
    """At each kill."""
    last: int = 0
    """Sent to the last process, which was not killed."""
    memory: int = 0
    """The most that a worker had while it downloaded, over what it had before."""
    halves: dict[bool, int] = field(default_factory=lambda: {False: 0, True: 0})
    """The most that a worker had in the first half and in the second half of the version."""
    changed: int = 0
    """Sent for a version with one shard that the worker has, and another one."""
    shard: int = 0
    violations: list[str] = field(default_factory=list)


@dataclass
class _Stage:
    folder: Path
    store: StoreSettings
    proxy: Proxy
    router: Router
    setup: Setup

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    def staged_bytes(self, version: str) -> int:
        folders = [folder for folder in (self.cache / f".part-{version}", self.cache / version) if folder.is_dir()]
        return sum(file.stat().st_size for folder in folders for file in folder.glob("*.safetensors"))


async def drill(folder: Path, setup: Setup) -> Report:
    """Publishes a version, and lets a worker download it that is killed on the way."""
    report, random = Report(setup.size, shard=setup.shard_bytes), Random(setup.seed)
    async with running_s3(folder) as store, counting(store.s3_endpoint) as proxy, running_router() as router:
        stage = _Stage(folder, store, proxy, router, setup)
        version = await _publish(stage, "first")
        base = await _kills(stage, version, random, report)
        async with _worker(stage) as process:
            began = proxy.sent
            await _watch(stage, process, version, setup.size, base, report)
            await wait_until(lambda: _serves(router, version), description="the worker is ready", timeout=120)
            report.last, report.sent = proxy.sent - began, proxy.sent
            _judge(report)
            await _change(stage, report)
    return report


async def _kills(stage: _Stage, version: str, random: Random, report: Report) -> int:
    """Kills the worker at random places of the download. Returns the memory of one that has not begun."""
    base = 0
    marks = sorted(random.uniform(0.1, 0.9) for _ in range(stage.setup.kills))
    for mark in marks:
        async with _worker(stage) as process:
            base = await _watch(stage, process, version, int(mark * stage.setup.size), base, report)
            process.send_signal(signal.SIGKILL)
        report.on_disk.append(stage.staged_bytes(version))
    return base


async def _watch(
    stage: _Stage, process: asyncio.subprocess.Process, version: str, until: int, base: int, report: Report
) -> int:
    """Waits until so many bytes are staged, and looks at the memory meanwhile. Returns that before the download."""
    program = psutil.Process(process.pid)
    before = stage.staged_bytes(version)
    first = base

    def reached() -> bool:
        nonlocal first
        memory, staged = program.memory_info().rss, stage.staged_bytes(version)
        if staged > before:
            report.memory = max(report.memory, memory - first)
            is_second = staged > stage.setup.size / 2
            report.halves[is_second] = max(report.halves[is_second], memory)
        else:
            first = max(first, memory)
        return staged >= until

    await wait_until(reached, description=f"{until} bytes are staged", timeout=3600)
    return first


def _judge(report: Report) -> None:
    share, besides = _BESIDES
    missing = report.size - (report.on_disk[-1] if report.on_disk else 0)
    if not missing <= report.last <= missing * (1 + share) + besides:
        report.violations.append(f"{report.last} bytes were sent for the {missing} that were missing")
    under_way = len(report.on_disk) * (RANGES + 1) * RANGE_BYTES
    if report.sent > report.size * (1 + share) + besides * (1 + len(report.on_disk)) + under_way:
        report.violations.append(f"{report.sent} bytes were sent of {report.size}, {under_way} at most were under way")
    if report.memory > RANGES * RANGE_BYTES + _BUFFERS:
        report.violations.append(f"the worker grew by {report.memory} bytes")
    if (growth := report.halves[True] - report.halves[False]) > _GROWTH:
        report.violations.append(f"the worker grew by {growth} bytes in the second half of the version")


async def _change(stage: _Stage, report: Report) -> None:
    """A version of two shards, of which the worker has one: only the other one is fetched."""
    version, began = await _publish(stage, "changed", shards=2), stage.proxy.sent
    stage.router.order_update("change", version)
    await wait_until(lambda: _serves(stage.router, version), description="the version is served", timeout=600)
    report.changed = stage.proxy.sent - began
    share, besides = _BESIDES
    if report.changed > report.shard * (1 + share) + besides:
        report.violations.append(f"{report.changed} bytes were sent for one shard of {report.shard}")


def _serves(router: Router, version: str) -> bool:
    last = router.heartbeats[-1] if router.heartbeats else pb.Heartbeat()
    return last.state == pb.WORKER_STATE_READY and last.model_version == version


@asynccontextmanager
async def _worker(stage: _Stage) -> AsyncIterator[asyncio.subprocess.Process]:
    config = stage.folder / "tidegate.yaml"
    config.write_text("pools: [{name: tide, model: tide, engine: {kind: simulated}}]")
    own = {
        "CONFIG": config,
        "LISTEN": "127.0.0.1:0",
        "HTTP_LISTEN": "127.0.0.1:0",
        "POOL": "tide",
        "ROUTERS": stage.router.address,
        "CACHE_DIR": stage.cache,
        "TRUSTED_KEYS": KEY.public,
        "WORKER_ID": "worker-1",
        "STAGE_RANGES": RANGES,
        "DRAIN_S": 1,
        **({} if stage.setup.speed is None else {"STAGE_MIB_S": stage.setup.speed}),
        **{name.upper(): value for name, value in stage.store.model_dump().items()},
        "S3_ENDPOINT": stage.proxy.url,
    }
    variables = {f"TIDEGATE_{name}": str(value) for name, value in own.items()}
    with (stage.folder / "worker.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-P", "-m", "services.worker", env={**os.environ, **variables}, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _publish(stage: _Stage, word: str, shards: int = 0) -> str:
    """A version with sparse shards; the last one is different for each word. Returns the version."""
    made, shards = stage.folder / word, shards or stage.setup.shards
    made.mkdir()
    (made / "config.json").write_bytes(CONFIG)
    for number in range(shards):
        name = word if number == shards - 1 else f"shard {number}"
        _sparse(made / f"model-{number}.safetensors", name, stage.setup.shard_bytes)
    files = tuple(file_of(path) for path in sorted(made.iterdir()))
    manifest = KEY.sign(_manifest(files))
    store = connect(stage.store)
    await publish(store, Folder(made), manifest, lambda _: None)
    await point(store, Reference("tide"), manifest.version, clock=SystemClock(), random=Random(1))
    return manifest.version


def _manifest(files: tuple[File, ...]) -> Manifest:
    return make(
        model="tide",
        created=1,
        architecture="Simulated",
        context_tokens=256,
        vocab_size=4353,
        files=files,
        weights_sha256="0" * 64,
        tokenizer_sha256="0" * 64,
        source="a drill",
    )


def _sparse(file: Path, name: str, size: int) -> None:
    """A file of exactly this size with one tensor, whose bytes are zero and take no room on the disk."""
    start = len(header_of({name: row(size)}))
    header = header_of({name: row(size - start)})
    padded = header + b" " * (start - len(header))
    with file.open("wb") as out:
        out.write((start - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "little") + padded[LENGTH_BYTES:])
        out.truncate(size)
