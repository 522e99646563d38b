"""Weights and adapters change under live traffic: nobody notices but by the answers, each wholly of one version."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from services.cli.clients.worker_status import list_workers
from services.local import secrets
from services.local.data_folder import DataFolder
from services.shared.clock import SystemClock
from services.shared.manifests import MANIFEST, File, Golden, Manifest, make
from services.shared.objectstore import ObjectStore, StoreSettings, connect
from services.shared.registry import Reference, Registry, object_name
from services.worker.engine.contract import ChatPrompt, Sampling
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.prompt import tokens_of
from services.worker.engine.simulated.tokens import Oracle
from tests.support.cluster import RunningCluster, running_cluster, tidegate
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CONFIG = """
pools:
  - name: tide
    model: simulated
    workers: 2
    engine: {kind: simulated, max_running: 4, step_ms: 12, swap_ms: 300}
    weight_updates: {hold_s: 60}  # every answer finishes, also on a busy machine
    adapters: {names: [tone-*], max_loaded: 4}
"""
TOKENS = 60
STREAMS = 12
QUESTIONS = [f"Where does the tide go at {hour}?" for hour in range(24)]


def whole_answer(weights_sha256: str, question: str) -> str:
    """What these weights say, by the definition of the simulated engine alone."""
    prompt = tokens_of(ChatPrompt([{"role": "user", "content": question}]))
    answer = SimulatedChoice(Oracle(weights_sha256, prompt, Sampling(temperature=0.0, ignore_eos=True), 0), TOKENS)
    return "".join(answer.next().text for _ in range(TOKENS))


@dataclass
class Load:
    """Streams that never cease; what they got, in the order in which they ended."""

    said: list[tuple[str, str, str]] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def stream(self, http: httpx.AsyncClient, number: int) -> None:
        for turn in range(10_000):
            question = QUESTIONS[(number + turn) % len(QUESTIONS)]
            try:
                self.said.append((question, *await ask(http, question)))
            except (httpx.HTTPError, AssertionError) as error:
                self.failures.append(f"{type(error).__name__}: {error}")

    def versions(self) -> list[str]:
        return [version for _, version, _ in self.said]


async def ask(http: httpx.AsyncClient, question: str, model: str = "tide") -> tuple[str, str]:
    """Mark of the version and text of a streamed answer, which must end as it should and be of one version."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    async with http.stream("POST", "chat/completions", json=body) as answer:
        # Comments tell the place in the queue when a request waits long.
        lines = [line async for line in answer.aiter_lines() if line and not line.startswith(":")]
        assert answer.status_code == 200, lines
        assert lines[-1] == "data: [DONE]", lines[-1]
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
        (fingerprint,) = {event["system_fingerprint"] for event in events}
        # The headers of a request that waits long in the queue are sent before its version is known.
        version = answer.headers["x-tidegate-model-version"]
        assert version == "none" or fingerprint == f"fp_{mark(version)}"
        return fingerprint.removeprefix("fp_"), text


def mark(version: str) -> str:
    """The part of a version that each event of a stream tells."""
    return version[:12]


def client(cluster: RunningCluster) -> httpx.AsyncClient:
    """A client that closes no connection by itself, so that each broken one is the server's doing.

    With a time limit on idle connections, httpx (httpcore 1.0) now and then closes one that it has just given to the
    next request, when its event loop stands still for longer than the limit. The request fails with a ReadError.
    """
    headers = {"authorization": f"Bearer {cluster.key}"}
    limits = httpx.Limits(keepalive_expiry=None)
    return httpx.AsyncClient(base_url=f"{cluster.rest}/", headers=headers, timeout=60, limits=limits)


@asynccontextmanager
async def load(cluster: RunningCluster) -> AsyncIterator[tuple[Load, httpx.AsyncClient]]:
    made = Load()
    async with client(cluster) as http:
        streams = [asyncio.create_task(made.stream(http, number)) for number in range(STREAMS)]
        yield made, http
        ended = [stream for stream in streams if not stream.cancel()]
        await asyncio.gather(*streams, return_exceptions=True)
    assert not ended, [stream.exception() for stream in ended]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    with running_cluster(tmp_path_factory.mktemp("hot-load"), CONFIG, "--routers", "2") as running:
        yield running


async def command(cluster: RunningCluster, *arguments: str, fails: bool = False) -> str:
    """What a `tidegate` command says, run beside the load."""
    done = await asyncio.to_thread(tidegate, cluster.folder, *arguments)
    assert (done.returncode == 1) == fails, done.stdout + done.stderr
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout + done.stderr


async def publish(cluster: RunningCluster, seed: int) -> Manifest:
    """A version under an alias of its own, so that nothing follows it yet."""
    alias = f"seed-{seed}"
    await command(cluster, "models", "import", f"simulated:{seed}", "--name", "simulated", "--alias", alias)
    return await Registry(store_of(cluster)).resolve(Reference("simulated", alias))


def store_of(cluster: RunningCluster) -> ObjectStore:
    keys = secrets.load_or_create(DataFolder.at(cluster.folder / ".tidegate"))
    return connect(
        StoreSettings(
            s3_endpoint=cluster.record.addresses.s3, s3_access_key=keys.s3_access_key, s3_secret_key=keys.s3_secret_key
        )
    )


async def served(cluster: RunningCluster) -> set[str]:
    """The versions that workers serve. Streams of the same event loop go on meanwhile."""
    return {worker.version for worker in await list_workers(cluster.record.addresses.routers)}


async def many(made: Load) -> None:
    await wait_until(lambda: len(made.said) > 100, description="more than 100 streams have ended", timeout=100)


def check(made: Load, *versions: Manifest) -> None:
    weights = {mark(manifest.version): manifest.weights_sha256 for manifest in versions}
    assert not made.failures, made.failures[:3]
    for question, version, text in made.said:
        assert text == whole_answer(weights[version], question), f"{version} does not say so"


async def test_a_rollout_there_and_back_loses_nothing_and_mixes_nothing(cluster: RunningCluster) -> None:
    first = await Registry(store_of(cluster)).resolve(Reference("simulated"))
    second, third = await publish(cluster, 1), await publish(cluster, 2)
    async with load(cluster) as (made, http):
        await command(cluster, "rollout", "start", "simulated", second.version[:12])
        assert await served(cluster) == {second.version}
        said_by_second = mark(second.version), whole_answer(second.weights_sha256, QUESTIONS[0])
        assert await ask(http, QUESTIONS[0]) == said_by_second
        await command(cluster, "models", "promote", "simulated", "seed-2")
        assert (await ask(http, QUESTIONS[0]))[0] == mark(third.version)
        said = await command(cluster, "models", "rollback", "simulated")
        assert first.version in said
        status: dict[str, Any] = json.loads(await command(cluster, "rollout", "status", "--json"))
        assert (status["state"], status["version"], len(status["workers"])) == ("done", first.version, 2)
        assert (await ask(http, QUESTIONS[0]))[0] == mark(first.version)
        await many(made)
    check(made, first, second, third)
    assert list(dict.fromkeys(made.versions()))[:3] == [mark(each.version) for each in (first, second, third)]


async def test_a_flipped_bit_is_refused_and_the_old_version_answers_throughout(cluster: RunningCluster) -> None:
    (old,) = await served(cluster)
    before = await Registry(store_of(cluster)).resolve(Reference("simulated", old))
    damaged = await publish(cluster, 3)
    await flip(store_of(cluster), object_name("simulated", damaged.version, "model.safetensors"))
    async with load(cluster) as (made, http):
        said = await command(cluster, "models", "promote", "simulated", "seed-3", fails=True)
        assert "model.safetensors is corrupt" in said
        assert await served(cluster) == {old}
        assert (await ask(http, QUESTIONS[0]))[0] == mark(old)
    check(made, before)
    assert await Registry(store_of(cluster)).alias(Reference("simulated")) == old
    status = json.loads((await command(cluster, "rollout", "status", "--json", fails=True)).partition("\ntidegate")[0])
    assert "is corrupt" in status["reason"]


def unproven(good: Manifest) -> dict[str, Any]:
    """Says of itself what these weights do not say."""
    return {"golden": [Golden(prompt_token_ids=(1, 2, 3), expected_token_ids=(0, 0, 0, 0))]}


def pickled(good: Manifest) -> dict[str, Any]:
    return {"files": [*good.files, File(name="pytorch_model.bin", size=1, sha256="0" * 64)]}


def unsigned(good: Manifest) -> dict[str, Any]:
    return {"source": "nobody knows"}


async def test_what_is_not_proven_not_signed_or_pickled_is_refused_and_the_old_version_answers_throughout(
    cluster: RunningCluster,
) -> None:
    (old,) = await served(cluster)
    before = await Registry(store_of(cluster)).resolve(Reference("simulated", old))
    refused: list[str] = []
    async with load(cluster) as (made, http):
        for bad, signed, reason in (
            (unproven, True, "golden prompt 0: token 0 is"),
            (pickled, True, "pytorch_model.bin does not have a safe format"),
            (unsigned, False, "is not signed"),
        ):
            version = await publish_changed(cluster, bad(before), signed=signed)
            refused.append(version)
            said = await command(cluster, "rollout", "start", "simulated", version, fails=True)
            assert reason in " ".join(said.split())
            assert await served(cluster) == {old}
            assert (await ask(http, QUESTIONS[0]))[0] == mark(old)
        await many(made)
    check(made, before)
    assert set(made.versions()) == {mark(old)}
    retention = ("--keep-days", "0", "--keep-last", "0", "--dry-run", "--json")
    garbage = {folder["version"] for folder in json.loads(await command(cluster, "models", "gc", *retention))}
    assert set(refused[:2]) <= garbage
    assert not {old, refused[2]} & garbage, "the last rollout still names the last one"


def another_tokenizer(good: Manifest) -> dict[str, Any]:
    """Workers must start on it."""
    return {"tokenizer_sha256": ("2" if good.tokenizer_sha256[0] == "1" else "1") * 64}


@pytest.mark.timeout(600)  # seven starts of a worker
async def test_a_version_that_cannot_come_in_place_replaces_the_workers_there_and_back(
    cluster: RunningCluster,
) -> None:
    old = await served_base(cluster)
    before = await processes(cluster)
    version = await publish_changed(cluster, another_tokenizer(old), signed=True)
    new = await Registry(store_of(cluster)).resolve(Reference("simulated", version))
    broken = await publish_changed(cluster, another_tokenizer(new) | unproven(new), signed=True)
    async with load(cluster) as (made, _):
        await command(cluster, "rollout", "start", "simulated", version)
        assert await served(cluster) == {version}
        assert not before & await processes(cluster)
        said = await command(cluster, "rollout", "start", "simulated", broken, fails=True)
        assert "does not run as it was published: golden prompt 0: token 0 is" in " ".join(said.split())

        async def as_before() -> bool:
            return [worker.version for worker in await list_workers(cluster.record.addresses.routers)] == [version] * 2

        await until(as_before, "both workers serve the version before")
        await command(cluster, "rollout", "start", "simulated", old.version)
        assert await served(cluster) == {old.version}
    check(made, old, new)


async def processes(cluster: RunningCluster) -> set[int]:
    return {worker["pid"] for worker in json.loads(await command(cluster, "workers", "list", "--json"))}


async def publish_changed(cluster: RunningCluster, changes: dict[str, Any], *, signed: bool) -> str:
    """A version like the one that `latest` names, but for the changes; with the same files in its folder."""
    registry = store_of(cluster)
    good = await Registry(registry).resolve(Reference("simulated"))
    bad = make(**good.model_dump(exclude={"version", "signature", "signer"}) | changes)
    for file in good.files:
        content, _ = await registry.get(object_name("simulated", good.version, file.name))
        await registry.put_new(object_name("simulated", bad.version, file.name), content)
    if signed:
        bad = secrets.load_or_create_signing_key(DataFolder.at(cluster.folder / ".tidegate")).sign(bad)
    await registry.put_new(object_name("simulated", bad.version, MANIFEST), bad.to_json())
    return bad.version


async def flip(store: ObjectStore, name: str) -> None:
    content, etag = await store.get(name)
    await store.put_if(name, bytes([*content[:-1], content[-1] ^ 1]), etag)


# ---- adapters


ADAPTERS = tuple(f"tone-{number}" for number in range(10))


def write_adapter(folder: Path, word: str) -> Path:
    """An adapter as PEFT saves it; the word makes it differ from others."""
    from numpy import frombuffer, uint8
    from safetensors.numpy import save_file

    folder.mkdir()
    config = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    save_file(
        {"layers.0.q_proj.lora_A.weight": frombuffer(word.encode(), dtype=uint8)}, folder / "adapter_model.safetensors"
    )
    return folder


async def publish_adapter(cluster: RunningCluster, base: Manifest, folder: Path, name: str, word: str) -> Manifest:
    from trainer.adapter_imports import AdapterFolder, import_adapter
    from trainer.imports import Target

    class Quiet:
        def preparing(self, name: str) -> None: ...

        def warning(self, text: str) -> None: ...

        def fetching(self, total_bytes: int, why: str) -> Callable[[int], None]:
            return lambda moved: None

        def asking(self, memory_bytes: int) -> None: ...

        def uploading(self, total_bytes: int) -> Callable[[int], None]:
            return lambda moved: None

    key = secrets.load_or_create_signing_key(DataFolder.at(cluster.folder / ".tidegate"))
    published = await import_adapter(
        AdapterFolder(write_adapter(folder, word)),
        Reference("simulated", base.version),
        Target(store_of(cluster), Reference(name), key),
        Quiet(),
        clock=SystemClock(),
        random=Random(1),
    )
    return published.manifest


async def ask_adapter(http: httpx.AsyncClient, adapter: Manifest, question: str) -> tuple[str, str]:
    return await ask(http, question, f"tide:{adapter.model}")


async def served_base(cluster: RunningCluster) -> Manifest:
    (version,) = await served(cluster)
    return await Registry(store_of(cluster)).resolve(Reference("simulated", version))


async def listed(http: httpx.AsyncClient, names: set[str]) -> dict[str, Any]:
    """What GET /v1/models says once it names all of these."""
    found: dict[str, Any] = {}

    async def all_there() -> bool:
        found.clear()
        found.update({model["id"]: model for model in (await http.get("models")).json()["data"]})
        return names <= found.keys()

    await until(all_there, "all adapters are listed")
    return found


async def until(condition: Callable[[], Awaitable[bool]], description: str) -> None:
    for _ in range(4000):
        if await condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"waited in vain until {description}")


async def test_ten_adapters_on_workers_that_hold_four_answer_as_themselves(
    cluster: RunningCluster, tmp_path: Path
) -> None:
    base = await served_base(cluster)
    adapters = [await publish_adapter(cluster, base, tmp_path / name, name, name) for name in ADAPTERS]
    async with client(cluster) as http:
        models = await listed(http, {f"tide:{name}" for name in ADAPTERS})
        assert models["tide:tone-3"]["parent"] == "tide"
        assert "parent" not in models["tide"]
        asked = [(adapter, QUESTIONS[number % 4]) for number in range(20) for adapter in adapters]
        Random(5).shuffle(asked)
        at_once = asyncio.Semaphore(8)

        async def one(adapter: Manifest, question: str) -> None:
            async with at_once:
                version, text = await ask_adapter(http, adapter, question)
            assert version == mark(adapter.version)
            assert text == whole_answer(base.weights_sha256 + adapter.version, question)

        await asyncio.gather(*(one(adapter, question) for adapter, question in asked))
        assert (await ask(http, QUESTIONS[0]))[1] == whole_answer(base.weights_sha256, QUESTIONS[0])
        assert (await ask(http, QUESTIONS[0], "tone-3"))[0] == mark(adapters[3].version)
        evicted = 0.0
        for process in cluster.record.processes:
            if process.name.startswith("worker"):
                page = (await http.get(f"http://{process.http_address}/metrics")).text
                line = next(line for line in page.splitlines() if line.startswith("tidegate_worker_adapter_evictions_"))
                evicted += float(line.split()[-1])
        assert evicted >= 6

    async def all_charged() -> bool:
        usage = json.loads(await command(cluster, "usage", "--by", "model,version", "--json"))
        charged = {(line["model"], line["version"]) for line in usage["data"]}
        return {(f"tide:{adapter.model}", adapter.version) for adapter in adapters} <= charged

    await until(all_charged, "the ledger has a line for each adapter")


async def test_a_new_adapter_version_under_streams_and_a_killed_worker(cluster: RunningCluster, tmp_path: Path) -> None:
    base = await served_base(cluster)
    old = await publish_adapter(cluster, base, tmp_path / "old", "tone-moving", "old")
    async with client(cluster) as http:
        await listed(http, {"tide:tone-moving"})
        said: list[tuple[str, str, str]] = []
        stop = asyncio.Event()

        async def stream(number: int) -> None:
            turn = 0
            while not stop.is_set():
                question = QUESTIONS[(number + turn) % len(QUESTIONS)]
                said.append((question, *await ask_adapter(http, old, question)))
                turn += 1

        streams = [asyncio.create_task(stream(number)) for number in range(8)]
        await wait_until(lambda: len(said) >= 16, description="streams have ended", timeout=60)
        new = await publish_adapter(cluster, base, tmp_path / "new", "tone-moving", "new")
        victim = next(process for process in cluster.record.processes if process.name == "worker-1")
        assert victim.pid
        os.kill(victim.pid, signal.SIGKILL)
        await wait_until(
            lambda: sum(version == mark(new.version) for _, version, _ in said) >= 24,
            description="the new version answers",
            timeout=100,
        )
        assert new.version in await command(cluster, "models", "list", "--json")
        await command(cluster, "models", "rollback", "tone-moving")
        count = len(said)
        await wait_until(
            lambda: [version for _, version, _ in said[count:]].count(mark(old.version)) >= 24,
            description="the old version answers again",
            timeout=100,
        )
        stop.set()
        await asyncio.gather(*streams)
    published = {mark(adapter.version): adapter.version for adapter in (old, new)}
    for question, version, text in said:
        assert text == whole_answer(base.weights_sha256 + published[version], question)

    async def both_back() -> bool:
        return len(await list_workers(cluster.record.addresses.routers)) == 2

    await until(both_back, "both workers are back")


async def test_adapters_that_cannot_be_served_are_clear_errors(cluster: RunningCluster, tmp_path: Path) -> None:
    base = await served_base(cluster)
    other = await publish(cluster, 77)
    await publish_adapter(cluster, other, tmp_path / "elsewhere", "tone-elsewhere", "elsewhere")
    good = await publish_adapter(cluster, base, tmp_path / "good", "tone-good", "good")
    body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 3}
    async with client(cluster) as http:
        models = await listed(http, {"tide:tone-good"})
        assert "tide:tone-elsewhere" not in models
        for name, status, words in (
            ("tide:tone-missing", 404, "does not exist"),
            ("tone-missing", 404, "does not exist"),
            ("tide:tone-elsewhere", 400, f"it is for simulated@{other.version[:12]}"),
        ):
            answer = await http.post("chat/completions", json=body | {"model": name})
            assert (answer.status_code, answer.json()["error"]["param"]) == (status, "model")
            assert words in answer.json()["error"]["message"]
        assert (await ask_adapter(http, good, QUESTIONS[0]))[0] == mark(good.version)
    pickle = write_adapter(tmp_path / "pickle", "pickle")
    (pickle / "adapter_model.bin").write_bytes(b"pickle")
    said = await asyncio.to_thread(
        tidegate, cluster.folder, "models", "import-adapter", str(pickle), "--base", "simulated"
    )
    assert said.returncode == 2
    assert "adapter_model.bin can run code" in said.stderr
