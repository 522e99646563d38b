"""Only complete, verified and safe files reach the disk; everything else is refused with the reason."""

import asyncio
import json
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import Missing, ObjectStore, Progress
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
    return Stager(store, cache, ManualClock(), TRUSTED)


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
        ("model.safetensors", GOOD["model.safetensors"] + b"weights", "larger than the manifest says"),
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


async def test_two_that_stage_into_one_folder_do_not_meet(tmp_path: Path) -> None:
    """Workers in containers that share a disk have the same process id too."""
    manifest = manifest_of(GOOD)
    first, second = await stager(tmp_path, manifest, GOOD), await stager(tmp_path, manifest, GOOD)
    folders = await asyncio.gather(first.stage(manifest), second.stage(manifest))
    assert list(folders) == [tmp_path / manifest.version] * 2
    assert {file.name: file.read_bytes() for file in folders[0].iterdir() if file.name != MANIFEST} == GOOD
    assert names(tmp_path) == [manifest.version]


class NeverAsked(ObjectStore):
    async def download(self, name: str, file: Path, progress: Progress) -> str:
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
