"""Publishers that are killed, and publishers that race, on a real S3 server: a version is whole, or it is not there."""

import asyncio
import multiprocessing
import time
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import numpy as np
from safetensors.numpy import save_file

from services.shared.manifests import MANIFEST
from services.shared.objectstore import ObjectStore, StoreSettings, connect
from services.shared.registry import Reference, Registry
from tests.support.publishing import MODEL, checkpoint_of, described, published, seen
from tests.support.s3 import running_s3
from trainer.checkpoint import Checkpoint, read

# More than one part of an upload each, so that some kills hit between two parts.
_SHARD_BYTES = 20 << 20
_HERE = "tests.robustness.publishing.drill"
_END_S = 60.0


@dataclass
class Report:
    """What was seen."""

    kills: int = 0
    whole: int = 0
    """Publishers that were killed too late: their version was whole."""
    races: int = 0
    publish_s: float = 0.0
    """One publish that nobody killed."""
    violations: list[str] = field(default_factory=list)


async def drill(folder: Path, kills: int, races: int, seed: int) -> Report:
    """Kills so many publishers at random times, and lets so many pairs race."""
    random, report = Random(seed), Report()
    async with running_s3(folder) as settings:
        store = connect(settings)
        await _kill(folder, settings, store, kills, random, report)
        await _race(folder, settings, store, races, random, report)
    return report


async def _kill(
    folder: Path, settings: StoreSettings, store: ObjectStore, kills: int, random: Random, report: Report
) -> None:
    """Each content is published again and again, until a publisher gets through; then the next one begins."""
    began = time.monotonic()
    await _end(_start(settings, _large(folder, 0)))
    report.publish_s, number = time.monotonic() - began, 1
    whole = {described(read(folder / "large-0")).version}
    content = _large(folder, number)
    for report.kills in range(1, kills + 1):
        publisher = _start(settings, content)
        await asyncio.sleep(random.uniform(0, report.publish_s))
        publisher.kill()
        await _end(publisher)
        now = await _seen(store, report)
        if not whole <= now:
            report.violations.append(f"kill {report.kills}: a version that was whole is gone")
        if now - whole:
            report.whole, number = report.whole + 1, number + 1
            whole, content = await _forget(store, now), _large(folder, number)
    await _end(_start(settings, content))
    if described(read(content)).version not in await _seen(store, report):
        report.violations.append("the publish that nobody killed did not end with a version")


async def _forget(store: ObjectStore, versions: set[str]) -> set[str]:
    """Removes versions that no alias names: each look at the registry reads all of it. Returns the rest."""
    kept = set((await Registry(store).aliases()).values())
    for version in versions - kept:
        names = [name async for name in store.list(f"{MODEL}/{version}/")]
        for name in sorted(names, key=lambda name: not name.endswith(MANIFEST)):
            await store.delete(name)
    return versions & kept


async def _race(
    folder: Path, settings: StoreSettings, store: ObjectStore, races: int, random: Random, report: Report
) -> None:
    """Two publish the same content, or different content: all is whole, and the alias names one of the two."""
    for report.races in range(1, races + 1):
        number = 1000 + 2 * report.races
        seeds = (number, number if random.random() < 0.5 else number + 1)
        contents = {seed: checkpoint_of(folder, seed).folder for seed in set(seeds)}
        publishers = [_start(settings, contents[seed]) for seed in seeds]
        for publisher in publishers:
            await _end(publisher)
        wanted = {described(read(content)).version for content in contents.values()}
        now = await _seen(store, report)
        if not wanted <= now:
            report.violations.append(f"race {report.races}: a version is missing")
        await _forget(store, now)
        if await Registry(store).alias(Reference(MODEL, "candidate")) not in wanted:
            report.violations.append(f"race {report.races}: the alias names neither")


async def _seen(store: ObjectStore, report: Report) -> set[str]:
    try:
        return await seen(store)
    except AssertionError as error:
        report.violations.append(f"after {report.kills} kills and {report.races} races: {error}")
        return set()


def _large(folder: Path, number: int) -> Path:
    """A model of two shards, different for each number."""
    made = folder / f"large-{number}"
    made.mkdir()
    checkpoint_of(made, number)
    (made / str(number) / "config.json").rename(made / "config.json")
    names = {f"w{part}": f"model-{part}-of-2.safetensors" for part in (1, 2)}
    random = np.random.default_rng(number)
    for tensor, name in names.items():
        save_file({tensor: random.integers(0, 255, _SHARD_BYTES, dtype=np.uint8)}, made / name)
    index = '{{"weight_map": {{{}}}}}'.format(", ".join(f'"{tensor}": "{name}"' for tensor, name in names.items()))
    (made / "model.safetensors.index.json").write_text(index)
    return made


def _start(settings: StoreSettings, content: Path) -> BaseProcess:
    """A process that publishes. It is forked from one that has all modules, so it starts in a moment."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([_HERE])
    publisher = context.Process(target=_publish, args=(settings.model_dump(), str(content)))
    publisher.start()
    return publisher


async def _end(publisher: BaseProcess) -> None:
    await asyncio.to_thread(publisher.join, _END_S)
    if publisher.exitcode is None:
        publisher.kill()
        raise AssertionError(f"a publisher did not end within {_END_S:g} s")


def _publish(settings: dict[str, str], content: str) -> None:
    checkpoint: Checkpoint = read(Path(content))
    asyncio.run(published(connect(StoreSettings.model_validate(settings)), checkpoint, Random()))
