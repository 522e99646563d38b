"""Models of a hub and of a bucket, streamed to the registry."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest
from obstore.store import MemoryStore
from safetensors.numpy import save

from services.shared.clock import SystemClock
from services.shared.manifests import MANIFEST, Manifest
from services.shared.objectstore import ObjectStore, connect
from services.shared.registry import Reference, Registry, object_name
from services.shared.staging import Stager
from tests.support.gguf_files import write_gguf
from tests.support.hub import COMMIT, Hub, HubRepo, running_hub
from tests.support.s3 import running_s3
from tests.support.signing import KEY, TRUSTED
from tests.support.wait import wait_until
from tests.unit.trainer.repositories import INDEX, REPOSITORIES, contents
from trainer import remote_data
from trainer.data.reader import load
from trainer.data.wrong import WrongData
from trainer.errors import WrongCheckpoint
from trainer.imports import Import, Target
from trainer.publish import Published
from trainer.sources.hub import HubRepository
from trainer.sources.pick import pick
from trainer.sources.remote_gguf import RemoteGguf
from trainer.sources.s3 import S3Prefix
from trainer.sources.source import Place, RemoteSource, WrongSource

QWEN, DEEPSEEK = "Qwen/Qwen3-32B", "deepseek-ai/DeepSeek-V3"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("HF_TOKEN", "")
    # A vLLM engine of an earlier test may have set these in this process.
    for offline in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(offline, raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    # The library may have been imported before, without the setting.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_TELEMETRY", True)
    with running_hub() as running:
        yield running


@pytest.fixture
def store() -> ObjectStore:
    return ObjectStore(MemoryStore())


def repo(name: str, numbers: int = 64) -> HubRepo:
    """The files of a real repository, with little in them."""
    real = REPOSITORIES[name]
    weights = real.weights or ["model.safetensors"]
    files = dict.fromkeys(real.names, b"unread")
    files |= {file: json.dumps(content).encode() for file, content in contents(real).items()}
    shards = {file: {f"layer.{number}": np.full(numbers, number, np.float32)} for number, file in enumerate(weights)}
    files |= {file: save(tensors) for file, tensors in shards.items()}
    if real.shards:
        places = {tensor: file for file, tensors in shards.items() for tensor in tensors}
        files[INDEX] = json.dumps({"weight_map": places}).encode()
    return HubRepo(files, lfs={*weights, "tokenizer.json"})


class Told:
    """What people are told."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.moved, self.total, self.why = 0, 0, ""

    def preparing(self, name: str) -> None: ...

    def warning(self, text: str) -> None:
        self.warnings.append(text)

    def asking(self, memory_bytes: int) -> None: ...

    def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
        self.why = why
        return self.uploading(total_bytes)

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        self.moved, self.total = 0, total_bytes
        return self._add

    def _add(self, moved: int) -> None:
        self.moved += moved


async def imported(place: Place, store: ObjectStore, told: Told | None = None) -> Published:
    work = Import(
        Target(store, Reference("tiny"), KEY), told or Told(), golden=None, clock=SystemClock(), random=Random(1)
    )
    return await work.run(RemoteSource("tiny", place))


async def staged(store: ObjectStore, manifest: Manifest, folder: Path) -> dict[str, bytes]:
    place = await Stager(store, folder, SystemClock(), TRUSTED).stage(manifest)
    files = {str(file.relative_to(place)): file.read_bytes() for file in place.rglob("*") if file.is_file()}
    return {name: content for name, content in files.items() if name != MANIFEST}


@pytest.mark.parametrize("name", REPOSITORIES)
async def test_a_repository_is_published_whole_and_staged_as_it_was(
    hub: Hub, store: ObjectStore, name: str, tmp_path: Path
) -> None:
    hub.repositories[name] = repo(name)
    told = Told()
    published = await imported(HubRepository(name, endpoint=hub.url), store, told)
    assert published.manifest.source == f"hf://{name}@{COMMIT}"
    assert told.moved == told.total
    real, found = REPOSITORIES[name], await staged(store, published.manifest, tmp_path)
    assert set(found) == {*real.taken, *real.weights}
    changed = {"config.json"} if real.config else set()
    assert {file for file, content in found.items() if content != hub.repositories[name].files[file]} == changed
    assert b"auto_map" not in found["config.json"]
    assert any("auto_map" in text for text in told.warnings) == bool(real.config)
    assert len(hub.reads) == len(set(hub.reads)) + bool(real.shards), "only the index is read twice"


async def test_the_same_commit_is_the_same_version_by_branch_tag_and_folder(hub: Hub, store: ObjectStore) -> None:
    hub.repositories[QWEN] = repo(QWEN)
    first = await imported(HubRepository(QWEN, endpoint=hub.url), store)
    again = await imported(HubRepository(QWEN, "v1", endpoint=hub.url), store)
    assert (first.is_new, again.is_new) == (True, False)
    assert first.manifest.version == again.manifest.version


async def test_gated_missing_private_and_unknown_revisions_are_told_apart(
    hub: Hub, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories = {"meta/gated": repo(QWEN), "own/private": repo(QWEN), QWEN: repo(QWEN)}
    hub.repositories["meta/gated"].is_gated = True
    hub.repositories["own/private"].token = "hf_secret"

    async def said(name: str, revision: str = "main") -> str:
        with pytest.raises(WrongSource) as raised:
            await imported(HubRepository(name, revision, endpoint=hub.url), store)
        assert "hf_secret" not in str(raised.value)
        return str(raised.value)

    assert "is gated: ask for access" in await said("meta/gated")
    assert "has no repository own/private, or it is private" in await said("own/private")
    assert "No token is set" in await said("nobody/nothing")
    assert "has no revision v9" in await said(QWEN, "v9")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    assert "No token is set" not in await said("nobody/nothing")
    assert (await imported(HubRepository("own/private", endpoint=hub.url), store)).is_new
    assert [made.source async for made in Registry(store).versions()] == [f"hf://own/private@{COMMIT}"]


async def test_a_hub_that_is_not_there_is_told(store: ObjectStore) -> None:
    with pytest.raises(WrongSource, match="cannot be reached"):
        await imported(HubRepository(QWEN, endpoint="http://127.0.0.1:9"), store)


async def test_a_repository_that_moved_is_followed_and_named(hub: Hub, store: ObjectStore) -> None:
    hub.repositories[QWEN], hub.moved = repo(QWEN), {"old/name": QWEN}
    told = Told()
    published = await imported(HubRepository("old/name", endpoint=hub.url), store, told)
    assert published.manifest.source == f"hf://{QWEN}@{COMMIT}"
    assert told.warnings == [f"the repository old/name is now called {QWEN}"]


async def test_half_an_upload_is_refused_before_weights_are_read(hub: Hub, store: ObjectStore) -> None:
    hub.repositories[QWEN] = repo(QWEN)
    lost = REPOSITORIES[QWEN].weights[5]
    del hub.repositories[QWEN].files[lost]
    with pytest.raises(WrongCheckpoint, match=rf"names {lost}, which is missing"):
        await imported(HubRepository(QWEN, endpoint=hub.url), store)
    assert hub.reads == [INDEX]


async def gguf(hub: Hub, store: ObjectStore, text: str, told: Told, *, golden: bool | None = False) -> Published:
    """Imports what `text` names."""
    source = pick(text)
    assert isinstance(source, RemoteSource | RemoteGguf)
    assert isinstance(source.place, HubRepository)
    source.place.endpoint = hub.url
    target = Target(store, Reference(source.name), KEY)
    return await Import(target, told, golden=golden, clock=SystemClock(), random=Random(1)).run(source)


@pytest.mark.timeout(300)
async def test_one_gguf_file_of_a_repository_is_converted(hub: Hub, store: ObjectStore, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "tiny.gguf")
    names = ["Tiny-F32.gguf", "Tiny-Q8_0.gguf", "mmproj-F16.gguf"]
    hub.repositories["own/Tiny-GGUF"] = HubRepo(dict.fromkeys(names, file.read_bytes()), lfs={*names})
    told = Told()
    published = await gguf(hub, store, "hf://own/Tiny-GGUF:f32@v1", told)
    assert published.manifest.source == f"hf://own/Tiny-GGUF@{COMMIT}/Tiny-F32.gguf"
    assert published.manifest.model == "tiny-f32"
    assert hub.reads == ["Tiny-F32.gguf"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(
        await staged(store, published.manifest, tmp_path / "staged")
    )
    again = await gguf(hub, store, published.manifest.source, told)
    assert (published.is_new, again.is_new) == (True, False)


async def test_a_repository_of_gguf_files_says_what_to_type(hub: Hub, store: ObjectStore) -> None:
    hub.repositories["own/Tiny-GGUF"] = HubRepo({"Tiny-Q8_0.gguf": b"", "Tiny-Q4_0.gguf": b"", "config.json": b"{}"})
    for text, typed in (
        ("hf://own/Tiny-GGUF", "hf://own/Tiny-GGUF/Tiny-Q4_0.gguf"),
        ("hf://own/Tiny-GGUF@v1", "hf://own/Tiny-GGUF@v1/Tiny-Q4_0.gguf"),
    ):
        with pytest.raises(WrongCheckpoint) as raised:
            await gguf(hub, store, text, Told())
        assert "only GGUF files: Tiny-Q4_0.gguf, Tiny-Q8_0.gguf." in str(raised.value)
        assert str(raised.value).endswith(f"such as {typed}")
        assert isinstance(pick(typed), RemoteGguf)
    assert hub.reads == []


async def test_a_gguf_file_that_is_damaged_or_finds_no_room_is_told(
    hub: Hub, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories["own/Tiny-GGUF"] = HubRepo({"a.gguf": b"GGUF is more than this"}, lfs={"a.gguf"})
    with pytest.raises(WrongSource, match=r"a\.gguf cannot be converted"):
        await gguf(hub, store, "hf://own/Tiny-GGUF/a.gguf", Told())
    monkeypatch.setattr(HubRepository, "read", _other_bytes)
    with pytest.raises(WrongSource, match=r"a\.gguf did not arrive as it is"):
        await gguf(hub, store, "hf://own/Tiny-GGUF/a.gguf", Told())
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(WrongSource, match=r"converted on this machine: 22 bytes, .* 10 free\. Set TMPDIR"):
        await gguf(hub, store, "hf://own/Tiny-GGUF/a.gguf", Told())
    assert [made async for made in Registry(store).versions()] == []


async def _other_bytes(_: HubRepository, name: str) -> AsyncGenerator[bytes, None]:
    yield b"GGUF is other than this"[:22]


@pytest.mark.parametrize("wrong", ["cut", "nan", "lost"])
async def test_wrong_weights_leave_nothing_to_see(hub: Hub, store: ObjectStore, wrong: str) -> None:
    hub.repositories[QWEN] = found = repo(QWEN)
    shard = REPOSITORIES[QWEN].weights[3]
    contents = {
        "cut": found.files[shard][:-1],
        "nan": save({"layer.3": np.full(64, np.nan, np.float32)}),
        "lost": save({"other": np.zeros(64, np.float32)}),
    }
    found.files[shard] = contents[wrong]
    with pytest.raises(WrongCheckpoint, match=shard):
        await imported(HubRepository(QWEN, endpoint=hub.url), store)
    assert [made async for made in Registry(store).versions()] == []


async def test_a_transfer_that_breaks_off_goes_on_in_the_middle(hub: Hub, store: ObjectStore, tmp_path: Path) -> None:
    hub.repositories["openai-community/gpt2"] = found = repo("openai-community/gpt2", numbers=1 << 18)
    hub.break_after = {"model.safetensors": 300_000}
    published = await imported(HubRepository("openai-community/gpt2", endpoint=hub.url), store)
    assert hub.reads.count("model.safetensors") == 2
    assert (await staged(store, published.manifest, tmp_path))["model.safetensors"] == found.files["model.safetensors"]


async def test_a_file_that_is_too_large_for_plain_http_is_told(
    hub: Hub, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[QWEN] = repo(QWEN)
    monkeypatch.setattr("huggingface_hub.constants.MAX_HTTP_DOWNLOAD_SIZE", 100)
    with pytest.raises(WrongSource, match="download the repository"):
        await imported(HubRepository(QWEN, endpoint=hub.url), store)


async def test_golden_prompts_want_room_on_the_disk(
    hub: Hub, store: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories[QWEN] = repo(QWEN)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10}))
    work = Import(Target(store, Reference("tiny"), KEY), Told(), golden=True, clock=SystemClock(), random=Random(1))
    with pytest.raises(WrongSource, match="leave --golden out"):
        await work.run(RemoteSource("tiny", HubRepository(QWEN, endpoint=hub.url)))


async def test_a_killed_import_goes_on_and_a_bucket_is_a_source_of_models_and_data(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a real S3 server, with the real command."""
    hub.repositories[QWEN] = repo(QWEN, numbers=1 << 16)
    weights = REPOSITORIES[QWEN].weights
    hub.held = set(weights[4:])
    key = tmp_path / "signing.pem"
    key.write_text(KEY.to_pem())
    async with running_s3(tmp_path) as settings:
        store = connect(settings)
        variables = {f"TIDEGATE_{name.upper()}": value for name, value in settings.model_dump().items()}
        environ = {**os.environ, **variables, "TIDEGATE_SIGNING_KEY_FILE": str(key), "HF_ENDPOINT": hub.url}

        async def start() -> asyncio.subprocess.Process:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "services.cli", "models", "import", f"hf://{QWEN}@v1", "--json"),
                env=environ,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )

        killed = await start()

        async def some_weights_are_up() -> bool:
            names = [name async for name in store.list("qwen3-32b/")]
            if killed.returncode is not None:
                raise AssertionError(await killed.communicate())
            return hub.is_held.is_set() and any(name.endswith(weights[0]) for name in names)

        await wait_until(some_weights_are_up, description="some weights are up, others are not", timeout=90)
        killed.send_signal(signal.SIGKILL)
        await killed.communicate()
        assert [made async for made in Registry(store).versions()] == []
        sent = {name async for name in store.list("qwen3-32b/")}

        hub.gate.set()
        again = await start()
        out, err = await again.communicate()
        assert again.returncode == 0, err
        version = json.loads(out)["version"]
        assert {name.split("/")[1] for name in sent} == {version}
        whole = [file for file in weights if object_name("qwen3-32b", version, file) in sent]
        assert {hub.reads.count(file) for file in whole} == {1}, "what is in the bucket is not read again"
        assert any(hub.reads.count(file) == 2 for file in hub.held), "what had been cut off is"
        manifest = await Registry(store).resolve(Reference("qwen3-32b"))
        assert (await staged(store, manifest, tmp_path / "cache"))[INDEX] == hub.repositories[QWEN].files[INDEX]

        for variable, value in {
            "AWS_ENDPOINT_URL": settings.s3_endpoint,
            "AWS_ACCESS_KEY_ID": settings.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": settings.s3_secret_key,
            "AWS_REGION": settings.s3_region,
        }.items():
            monkeypatch.setenv(variable, value)
        place = S3Prefix.parse(f"s3://{settings.s3_bucket}/{object_name('qwen3-32b', version, '')}")
        told = Told()
        copy = await imported(place, store, told)
        assert told.why == "measuring"
        assert copy.manifest.files == manifest.files
        with pytest.raises(WrongSource, match="holds nothing"):
            await imported(S3Prefix.parse(f"s3://{settings.s3_bucket}/nowhere"), store)

        await store.put_new("chats/b/chats.jsonl", b'{"text": "The tide."}\n' * 2)
        folder = await remote_data.fetch(f"s3://{settings.s3_bucket}/chats", tmp_path / "data")
        assert load(folder).report.kept == 2
        with pytest.raises(WrongData, match="no object there ends in"):
            await remote_data.fetch(f"s3://{settings.s3_bucket}/nowhere", tmp_path / "other")
