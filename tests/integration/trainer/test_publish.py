"""Publishing to a real S3 server."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from services.shared.clock import SystemClock
from services.shared.manifests import MANIFEST
from services.shared.objectstore import StoreSettings, connect
from services.shared.registry import Reference, Registry
from tests.support.s3 import running_s3
from tests.support.signing import KEY, TRUSTED
from tests.support.wait import wait_until
from trainer.publish import point

IMPORT = (sys.executable, "-P", "-m", "services.cli", "models", "import")


@pytest.fixture
async def settings(tmp_path: Path) -> AsyncIterator[StoreSettings]:
    async with running_s3(tmp_path) as running:
        yield running


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "signing.pem"
    file.write_text(KEY.to_pem())
    return file


async def start_import(settings: StoreSettings, key_file: Path, *arguments: str) -> asyncio.subprocess.Process:
    variables = {f"TIDEGATE_{name.upper()}": value for name, value in settings.model_dump().items()}
    variables["TIDEGATE_SIGNING_KEY_FILE"] = str(key_file)
    return await asyncio.create_subprocess_exec(
        *IMPORT,
        *arguments,
        "--json",
        env={**os.environ, **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def test_two_publishers_race_for_an_alias(settings: StoreSettings) -> None:
    store = connect(settings)
    versions = [f"{number:064x}" for number in range(8)]
    reference = Reference("tiny")
    await asyncio.gather(
        *(point(store, reference, version, clock=SystemClock(), random=Random(version)) for version in versions)
    )
    assert await Registry(store).alias(reference) in versions


async def test_importers_at_once_leave_whole_versions_and_one_winner(settings: StoreSettings, key_file: Path) -> None:
    sources = ("simulated:1", "simulated:2", "simulated:2")
    running = [await start_import(settings, key_file, source, "--name", "tiny") for source in sources]
    ended = await asyncio.gather(*(process.communicate() for process in running))
    assert [process.returncode for process in running] == [0, 0, 0], ended
    registry = Registry(connect(settings))
    manifests = [manifest async for manifest in registry.versions()]
    assert len({manifest.version for manifest in manifests}) == len(manifests) == 2
    assert await registry.resolve(Reference("tiny")) in manifests
    for manifest in manifests:
        TRUSTED.check(manifest)


async def models(settings: StoreSettings, *arguments: str) -> tuple[int | None, str, str]:
    """`tidegate models ...`: its exit status and what it said, to standard output and to standard error."""
    variables = {f"TIDEGATE_{name.upper()}": value for name, value in settings.model_dump().items()}
    process = await asyncio.create_subprocess_exec(
        *IMPORT[:-1],
        *arguments,
        env={**os.environ, **variables, "TIDEGATE_TRUSTED_KEYS": KEY.public},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()
    return process.returncode, said.decode(), complained.decode()


async def test_versions_are_shown_compared_and_verified(settings: StoreSettings, key_file: Path) -> None:
    for seed in (1, 2):
        process = await start_import(settings, key_file, f"simulated:{seed}", "--name", "tiny")
        await process.communicate()
    store = connect(settings)
    first, second = [await Registry(store).alias(Reference("tiny", which)) for which in ("latest", "candidate")]
    status, shown, _ = await models(settings, "show", "tiny", "--json")
    told = json.loads(shown)
    assert (status, told["version"], told["aliases"], told["signer"]) == (0, first, ["latest"], KEY.public)
    status, shown, _ = await models(settings, "diff", "tiny", "latest", second[:6])
    assert status == 0
    assert "model.safetensors" in shown
    status, shown, _ = await models(settings, "verify", "tiny", "candidate")
    assert status == 0
    assert f"tiny@{second}: all" in shown
    name = f"tiny/{second}/config.json"
    content, etag = await store.get(name)
    await store.put_if(name, content.replace(b"{", b"[", 1), etag)
    status, _, complained = await models(settings, "verify", "tiny", "candidate")
    assert status == 1
    assert "config.json is not what was signed" in complained


async def test_a_killed_publish_leaves_nothing_to_see(settings: StoreSettings, key_file: Path, tmp_path: Path) -> None:
    folder = big_model(tmp_path)
    store = connect(settings)
    killed = await start_import(settings, key_file, str(folder), "--name", "tiny")

    async def has_begun() -> bool:
        return any([name async for name in store.list("tiny/")])

    await wait_until(has_begun, description="the first file is up", timeout=60)
    killed.send_signal(signal.SIGKILL)
    await killed.communicate()
    names = [name async for name in store.list("tiny/")]
    assert not [name for name in names if name.endswith(MANIFEST)], "killed too late to show anything"
    assert [manifest async for manifest in Registry(store).versions()] == []

    again = await start_import(settings, key_file, str(folder), "--name", "tiny")
    assert await again.communicate()
    assert again.returncode == 0
    assert len([manifest async for manifest in Registry(store).versions()]) == 1


def big_model(folder: Path) -> Path:
    """Weights large enough (400 MB, sparse) that their upload takes a while after the small files are up."""
    import struct

    from trainer.sources.simulated import SimulatedModel

    made = folder / "big"
    made.mkdir()
    SimulatedModel().prepare(made)
    size = 400 * 1024 * 1024
    header = b'{"weights":{"dtype":"U8","shape":[%d],"data_offsets":[0,%d]}}' % (size, size)
    with (made / "model.safetensors").open("wb") as out:
        out.write(struct.pack("<Q", len(header)) + header)
        out.truncate(8 + len(header) + size)
    return made
