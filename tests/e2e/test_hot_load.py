"""Weights change under live traffic: nobody notices but by the answers, and each answer is wholly of one version."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from services.local import secrets
from services.local.data_folder import DataFolder
from services.shared.manifests import MANIFEST, File, Golden, Manifest, make
from services.shared.objectstore import ObjectStore, StoreSettings, connect
from services.shared.registry import Reference, Registry, object_name
from services.worker.engine.contract import ChatPrompt, Sampling
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.prompt import tokens_of
from services.worker.engine.simulated.tokens import Oracle
from tests.support.cluster import RunningCluster, running_cluster, tidegate
from tests.support.wait import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

CONFIG = """
pools:
  - {name: tide, model: simulated, workers: 2, engine: {kind: simulated, max_running: 4, step_ms: 5, swap_ms: 300}}
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


async def ask(http: httpx.AsyncClient, question: str) -> tuple[str, str]:
    """Version and text of a streamed answer, which must end as it should."""
    body = {
        "model": "tide",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
    }
    async with http.stream("POST", "chat/completions", json=body) as answer:
        lines = [line async for line in answer.aiter_lines() if line]
        assert answer.status_code == 200, lines
        assert lines[-1] == "data: [DONE]", lines[-1]
        events = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
        text = "".join(choice["delta"].get("content") or "" for event in events for choice in event["choices"])
        return answer.headers["x-tidegate-model-version"], text


@asynccontextmanager
async def load(cluster: RunningCluster) -> AsyncIterator[tuple[Load, httpx.AsyncClient]]:
    headers = {"authorization": f"Bearer {cluster.key}"}
    made = Load()
    async with httpx.AsyncClient(base_url=f"{cluster.rest}/", headers=headers, timeout=60) as http:
        streams = [asyncio.create_task(made.stream(http, number)) for number in range(STREAMS)]
        yield made, http
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)


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
    endpoint = cluster.status()["addresses"]["s3"]
    return connect(
        StoreSettings(s3_endpoint=endpoint, s3_access_key=keys.s3_access_key, s3_secret_key=keys.s3_secret_key)
    )


def served(cluster: RunningCluster) -> set[str]:
    return {worker["version"] for worker in cluster.status()["workers"]}


async def many(made: Load) -> None:
    await wait_until(lambda: len(made.said) > 100, description="more than 100 streams have ended", timeout=100)


def check(made: Load, *versions: Manifest) -> None:
    weights = {manifest.version: manifest.weights_sha256 for manifest in versions}
    assert not made.failures, made.failures[:3]
    for question, version, text in made.said:
        assert text == whole_answer(weights[version], question), f"{version[:8]} does not say so"


async def test_a_rollout_there_and_back_loses_nothing_and_mixes_nothing(cluster: RunningCluster) -> None:
    first = await Registry(store_of(cluster)).resolve(Reference("simulated"))
    second, third = await publish(cluster, 1), await publish(cluster, 2)
    async with load(cluster) as (made, http):
        await command(cluster, "rollout", "start", "simulated", second.version[:12])
        assert served(cluster) == {second.version}
        assert await ask(http, QUESTIONS[0]) == (second.version, whole_answer(second.weights_sha256, QUESTIONS[0]))
        await command(cluster, "models", "promote", "simulated", "seed-2")
        assert (await ask(http, QUESTIONS[0]))[0] == third.version
        said = await command(cluster, "models", "rollback", "simulated")
        assert first.version in said
        status: dict[str, Any] = json.loads(await command(cluster, "rollout", "status", "--json"))
        assert (status["state"], status["version"], len(status["workers"])) == ("done", first.version, 2)
        assert (await ask(http, QUESTIONS[0]))[0] == first.version
        await many(made)
    check(made, first, second, third)
    assert list(dict.fromkeys(made.versions()))[:3] == [first.version, second.version, third.version]


async def test_a_flipped_bit_is_refused_and_the_old_version_answers_throughout(cluster: RunningCluster) -> None:
    (old,) = served(cluster)
    before = await Registry(store_of(cluster)).resolve(Reference("simulated", old))
    damaged = await publish(cluster, 3)
    await flip(store_of(cluster), object_name("simulated", damaged.version, "model.safetensors"))
    async with load(cluster) as (made, http):
        said = await command(cluster, "models", "promote", "simulated", "seed-3", fails=True)
        assert "model.safetensors is corrupt" in said
        assert served(cluster) == {old}
        assert (await ask(http, QUESTIONS[0]))[0] == old
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
    (old,) = served(cluster)
    before = await Registry(store_of(cluster)).resolve(Reference("simulated", old))
    async with load(cluster) as (made, http):
        for bad, signed, reason in (
            (unproven, True, "golden prompt 0: token 0 is"),
            (pickled, True, "pytorch_model.bin does not have a safe format"),
            (unsigned, False, "is not signed"),
        ):
            version = await publish_changed(cluster, bad(before), signed=signed)
            said = await command(cluster, "rollout", "start", "simulated", version, fails=True)
            assert reason in " ".join(said.split())
            assert served(cluster) == {old}
            assert (await ask(http, QUESTIONS[0]))[0] == old
        await many(made)
    check(made, before)
    assert set(made.versions()) == {old}


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
