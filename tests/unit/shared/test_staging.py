"""Only complete, verified and safe files reach the disk; everything else is refused with the reason."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from obstore.store import MemoryStore
from typing_extensions import Buffer

from services.shared.clock import SystemClock
from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import Missing, ObjectStore, StoreError
from services.shared.registry import object_name
from services.shared.staging import RefusedModel, Stager
from tests.support.clock import ManualClock
from tests.support.signing import KEY, STRANGER, TRUSTED
from tests.support.tensor_files import tensor_file
from tests.unit.worker.models import manifest_of

GOOD = {"model.safetensors": tensor_file(b"weights" * 100, "a"), "config.json": b"{}", "tokenizer.json": b"[1]"}


async def stager(cache: Path, manifest: Manifest, files: dict[str, bytes]) -> Stager:
    store = ObjectStore(MemoryStore())
    for name, content in files.items():
        await store.put_new(object_name(manifest.model, manifest.version, name), content)
    return Stager(store, cache, SystemClock(), TRUSTED)


def names(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir()]


async def test_a_good_version_is_staged_under_its_name(tmp_path: Path) -> None:
    manifest = manifest_of(GOOD)
    folder = await (await stager(tmp_path, manifest, GOOD)).stage(manifest)
    assert folder == tmp_path / manifest.version
    assert {file.name: file.read_bytes() for file in folder.iterdir() if file.name != MANIFEST} == GOOD
    assert names(tmp_path) == [manifest.version]


async def test_files_in_folders_are_staged_in_those_folders(tmp_path: Path) -> None:
    files = GOOD | {"additional_chat_templates/tool_use.jinja": b"{{ tools }}"}
    manifest = manifest_of(files)
    folder = await (await stager(tmp_path, manifest, files)).stage(manifest)
    assert (folder / "additional_chat_templates" / "tool_use.jinja").read_bytes() == b"{{ tools }}"


@pytest.mark.parametrize("name", ["1_Pooling/config.json", "processor_config.json"])
async def test_code_is_refused_in_every_configuration_file(tmp_path: Path, name: str) -> None:
    files = GOOD | {name: b'{"auto_map": {"AutoProcessor": "x.Y"}}'}
    manifest = manifest_of(files)
    with pytest.raises(RefusedModel, match=name):
        await (await stager(tmp_path, manifest, files)).stage(manifest)


async def test_a_staged_version_is_not_fetched_again(tmp_path: Path) -> None:
    manifest = manifest_of(GOOD)
    folder = await (await stager(tmp_path, manifest, GOOD)).stage(manifest)
    assert await (await stager(tmp_path, manifest, {})).stage(manifest) == folder


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("model.safetensors", GOOD["model.safetensors"][:-7] + b"weighhs", "is corrupt"),
        ("model.safetensors", GOOD["model.safetensors"][:-7], "its manifest says"),
        ("model.safetensors", GOOD["model.safetensors"] + b"weights", "its manifest says"),
    ],
    ids=["a flipped bit", "short", "long"],
)
async def test_what_differs_from_the_manifest_is_refused(
    tmp_path: Path, file: str, content: bytes, reason: str
) -> None:
    manifest = manifest_of(GOOD)
    source = await stager(tmp_path, manifest, GOOD | {file: content})
    with pytest.raises(RefusedModel, match=reason):
        await source.stage(manifest)
    assert names(tmp_path) == []


@pytest.mark.parametrize("name", ["model.bin", "model.pt", "model.pkl", "modeling_tide.py", "run.sh", "model"])
async def test_files_that_could_carry_code_are_refused(tmp_path: Path, name: str) -> None:
    files = GOOD | {name: b"data"}
    manifest = manifest_of(files)
    with pytest.raises(RefusedModel, match=name):
        await (await stager(tmp_path, manifest, files)).stage(manifest)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
@pytest.mark.parametrize("content", [b'{"auto_map": {"AutoModel": "x.Y"}}', b"[]", b"{", b"\xff\xfe", b"[" * 100_000])
async def test_configurations_that_ask_for_remote_code_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    files = GOOD | {name: content}
    manifest = manifest_of(files)
    with pytest.raises(RefusedModel, match=name):
        await (await stager(tmp_path, manifest, files)).stage(manifest)
    assert names(tmp_path) == []


@pytest.mark.parametrize("key", ["auto_map", "custom_pipelines", "trust_remote_code"])
async def test_code_that_is_asked_for_deep_down_is_refused(tmp_path: Path, key: str) -> None:
    files = GOOD | {"config.json": json.dumps({"layers": [1, {"text_config": {key: {"a": "x.Y"}}}]}).encode()}
    manifest = manifest_of(files)
    with pytest.raises(RefusedModel, match=rf"config\.json asks for remote code \({key}\)"):
        await (await stager(tmp_path, manifest, files)).stage(manifest)


@pytest.mark.parametrize("shard", ["../other/model.safetensors", "/model.safetensors", "lost.safetensors", 7])
async def test_an_index_that_looks_for_weights_elsewhere_is_refused(tmp_path: Path, shard: object) -> None:
    name = "model.safetensors.index.json"
    for shards, refused in (({"a": "model.safetensors"}, False), ({"a": "model.safetensors", "b": shard}, True)):
        files = GOOD | {name: json.dumps({"weight_map": shards}).encode()}
        manifest = manifest_of(files)
        staging = (await stager(tmp_path, manifest, files)).stage(manifest)
        if refused:
            with pytest.raises(RefusedModel, match=r"index\.json names weight files"):
                await staging
        else:
            assert (await staging / name).exists()


async def test_a_missing_file_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest = manifest_of(GOOD)
    source = await stager(tmp_path, manifest, {"config.json": b"{}"})
    with pytest.raises(Missing):
        await source.stage(manifest)
    assert names(tmp_path) == []


class Counted(ObjectStore):
    """`cut_after`: ranges after which the store is away."""

    def __init__(self, store: MemoryStore, cut_after: int = 1_000) -> None:
        super().__init__(store)
        self.fetched: list[str] = []
        self._left = cut_after

    async def open_range(self, name: str, begin: int, end: int) -> tuple[int, AsyncIterator[Buffer]]:
        if not self._left:
            raise StoreError("away")
        self._left -= 1
        self.fetched.append(name.rpartition("/")[2])
        return await super().open_range(name, begin, end)


async def filled(*versions: dict[str, bytes]) -> MemoryStore:
    store = MemoryStore()
    for files in versions:
        for name, content in files.items():
            await ObjectStore(store).put_new(object_name("tide", manifest_of(files).version, name), content)
    return store


SHARDS = {f"model-{number}.safetensors": tensor_file(bytes([number]) * 1000, str(number)) for number in range(6)}
OTHER = SHARDS | {"model-3.safetensors": tensor_file(b"another" * 99, "3"), "config.json": b"{}"}


async def test_what_a_version_on_the_disk_has_is_not_fetched(tmp_path: Path) -> None:
    store = Counted(await filled(SHARDS, OTHER))
    stage = Stager(store, tmp_path, SystemClock(), TRUSTED).stage
    first = await stage(manifest_of(SHARDS))
    store.fetched.clear()
    missing: list[int] = []
    second = await stage(manifest_of(OTHER), missing.append)
    assert sorted(store.fetched) == ["config.json", "model-3.safetensors"]
    assert missing == [len(OTHER["model-3.safetensors"]) + 2]
    assert {file.name: file.read_bytes() for file in second.iterdir() if file.name != MANIFEST} == OTHER
    assert (first / "model-1.safetensors").samefile(second / "model-1.safetensors")
    shutil.rmtree(first)
    assert (second / "model-1.safetensors").read_bytes() == OTHER["model-1.safetensors"]


async def test_what_is_damaged_on_the_disk_is_fetched_and_not_passed_on(tmp_path: Path) -> None:
    store = Counted(await filled(SHARDS, OTHER))
    stage = Stager(store, tmp_path, SystemClock(), TRUSTED).stage
    first = await stage(manifest_of(SHARDS))
    damaged = first / "model-1.safetensors"
    damaged.write_bytes(SHARDS[damaged.name][:-1] + b"x")
    (first / "model-2.safetensors").write_bytes(b"short")
    store.fetched.clear()
    second = await stage(manifest_of(OTHER))
    assert sorted(store.fetched) == ["config.json", "model-1.safetensors", "model-2.safetensors", "model-3.safetensors"]
    assert {file.name: file.read_bytes() for file in second.iterdir() if file.name != MANIFEST} == OTHER


async def test_a_store_that_goes_away_is_taken_up_where_it_was(tmp_path: Path) -> None:
    files = dict(list(SHARDS.items())[:3])
    store = await filled(files)
    fetched: list[str] = []
    for _ in files:
        one = Counted(store, cut_after=1)
        with suppress(StoreError):
            await Stager(one, tmp_path, SystemClock(), TRUSTED).stage(manifest_of(files))
        fetched += one.fetched
    assert sorted(fetched) == sorted(files)
    assert names(tmp_path) == [manifest_of(files).version]


async def test_a_beginning_that_is_wrong_is_fetched_anew(tmp_path: Path) -> None:
    """A machine that lost its power may have written anything."""
    part = tmp_path / f".part-{manifest_of(SHARDS).version}"
    part.mkdir()
    (part / "model-1.safetensors").write_bytes(bytes(500))
    (part / "model-2.safetensors").write_bytes(SHARDS["model-2.safetensors"])
    store = Counted(await filled(SHARDS))
    folder = await Stager(store, tmp_path, SystemClock(), TRUSTED).stage(manifest_of(SHARDS))
    assert (folder / "model-1.safetensors").read_bytes() == SHARDS["model-1.safetensors"]
    assert "model-2.safetensors" not in store.fetched


async def test_what_has_no_room_is_refused_before_anything_is_fetched(tmp_path: Path) -> None:
    def full(missing: int) -> None:
        raise OSError(f"{missing} bytes do not fit")

    with pytest.raises(OSError, match=f"{sum(map(len, SHARDS.values()))} bytes do not fit"):
        await Stager(NeverAsked(MemoryStore()), tmp_path, SystemClock(), TRUSTED).stage(manifest_of(SHARDS), full)
    assert names(tmp_path) == []


async def test_two_that_stage_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    """Workers in containers that share a disk have the same process id too."""
    manifest = manifest_of(GOOD)
    first, second = await stager(tmp_path, manifest, GOOD), await stager(tmp_path, manifest, GOOD)
    folders = await asyncio.gather(first.stage(manifest), second.stage(manifest))
    assert list(folders) == [tmp_path / manifest.version] * 2
    assert {file.name: file.read_bytes() for file in folders[0].iterdir() if file.name != MANIFEST} == GOOD
    assert names(tmp_path) == [manifest.version]


class NeverAsked(ObjectStore):
    async def open_range(self, name: str, begin: int, end: int) -> tuple[int, AsyncIterator[Buffer]]:
        raise AssertionError(f"{name} was fetched")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": None, "signer": None}, "is not signed"),
        ({"signature": STRANGER.sign(manifest_of(GOOD)).signature}, "the signature is wrong"),
        ({"signature": "rubbish"}, "the signature is wrong"),
        ({"signer": STRANGER.public}, "not among the trusted keys"),
    ],
    ids=["unsigned", "another's signature", "no signature at all", "another signer"],
)
async def test_what_nobody_trusted_signed_is_refused_before_anything_is_fetched(
    tmp_path: Path, change: dict[str, str | None], reason: str
) -> None:
    manifest = manifest_of(GOOD).model_copy(update=change)
    assert manifest.digest() == manifest.version
    with pytest.raises(RefusedModel, match=reason):
        await Stager(NeverAsked(MemoryStore()), tmp_path, ManualClock(), TRUSTED).stage(manifest)


async def test_a_staged_version_needs_its_signature_too(tmp_path: Path) -> None:
    manifest = KEY.sign(manifest_of(GOOD))
    source = await stager(tmp_path, manifest, GOOD)
    await source.stage(manifest)
    with pytest.raises(RefusedModel, match="not signed"):
        await source.stage(manifest.model_copy(update={"signature": None}))
