"""Speculators roll out apart from the model: in place, or with a new process; answers go on and do not change."""

import asyncio
from collections.abc import Sequence

import pytest

from services.cli.clients import rollouts, version_staging
from services.cli.clients.control import place_of, speculators
from services.cli.clients.rollouts import Asker, Rollout, Way
from services.cli.errors import CommandFailed
from services.gateway.app import GatewayApp
from services.router.app import RouterApp
from services.shared.manifests import Manifest
from services.shared.registry import Reference
from services.worker.app import WorkerApp
from tests.integration.cluster.test_swaps import LIMIT_S, clients, long_answers, mark, words
from tests.integration.cluster.whole import WholeCluster
from tests.integration.worker.store import FILES, publish, publish_speculator
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of

CONFIG = (
    "pools: [{name: tide, model: tide, engine: {kind: simulated, max_running: 8, step_ms: 10, swap_ms: 100,"
    " speculation: {model: draft}}}]"
)
ALICE = Asker(who="alice", why="a better one")
WAY = Way(speculator=True)
NEWER = FILES | {"model.safetensors": tensor_file(b"newer!!")}


async def started(cluster: WholeCluster, *names: str) -> tuple[RouterApp, GatewayApp, Manifest]:
    await cluster.write_config(CONFIG)
    old = await publish_speculator(cluster.store, manifest_of(FILES))
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    for name in names:
        await ready(await cluster.start_worker(name, router.address))
    return router, gateway, old


async def ready(worker: WorkerApp) -> None:
    await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)


async def ended(routers: Sequence[str], started: Rollout) -> Rollout:
    async with asyncio.timeout(LIMIT_S):
        return await rollouts.follow(routers, started, lambda _: None)


async def test_every_worker_drafts_with_the_new_version_and_no_answer_changes(cluster: WholeCluster) -> None:
    router, gateway, old = await started(cluster, "w1", "w2")
    routers = (router.address,)
    tide, new = manifest_of(FILES), await publish_speculator(cluster.store, manifest_of(FILES), acceptance=0.2)
    assert await speculators(routers) == {"tide": Reference("draft")}
    assert await place_of(routers, new, None) == ("tide", True)
    assert await place_of(routers, tide, None) == ("tide", False)
    staged = await version_staging.begin(routers, "tide", new.version, speculator=True)
    async with asyncio.timeout(LIMIT_S):
        staged = await version_staging.follow(routers, staged, lambda _: None)
    staged.check()
    async with clients(gateway) as http, long_answers(http) as answers:
        done = await ended(routers, await rollouts.start(routers, "tide", new.version, WAY, ALICE))
    assert (done.state, done.speculator, done.previous, done.workers_at_goal) == ("done", True, old.version, 2)
    assert {worker.engine.info.draft_version for worker in cluster.workers.values()} == {new.version}
    for answer in answers:
        assert answer.fingerprints == [mark(tide)]
        assert "".join(words(tide, answer.question)).startswith(answer.text)

    # The model has a rollout of its own, which keeps the speculator.
    with pytest.raises(CommandFailed, match="tide has had no rollout"):
        await rollouts.last(routers, "tide")
    newer = await publish(cluster.store, NEWER)
    assert (await ended(routers, await rollouts.start(routers, "tide", newer.version, Way(), ALICE))).state == "done"
    assert {worker.engine.info.draft_version for worker in cluster.workers.values()} == {new.version}

    # One that was made for another model is refused by the first worker, and nothing has changed.
    wrong = await publish_speculator(cluster.store, tide, acceptance=0.1, target=f"sea@{'e' * 64}")
    refused = await ended(routers, await rollouts.start(routers, "tide", wrong.version, WAY, ALICE))
    assert (refused.state, "drafts for sea" in refused.reason) == ("failed", True), refused.reason
    assert {worker.engine.info.draft_version for worker in cluster.workers.values()} == {new.version}
    events = await rollouts.history(routers, "tide", speculator=True)
    assert [event.event for event in events] == ["started", "done", "started", "undoing", "failed"]
    assert [event.event for event in await rollouts.history(routers, "tide")] == ["started", "done"]


async def test_a_worker_that_cannot_change_in_place_starts_with_the_version(cluster: WholeCluster) -> None:
    router, _, _ = await started(cluster, "w1")
    routers, first = (router.address,), cluster.workers["w1"]
    new = await publish_speculator(cluster.store, manifest_of(FILES), tokens=5)
    rollout = await rollouts.start(routers, "tide", new.version, WAY, ALICE)
    with pytest.raises(CommandFailed, match="a rollout of the pool's speculator to"):
        await rollouts.start(routers, "tide", manifest_of(NEWER).version, Way(), ALICE)
    await asyncio.wait_for(first.ended.wait(), LIMIT_S)
    await cluster.stop_worker("w1")
    await ready(await cluster.start_worker("w1", router.address))
    assert (await ended(routers, rollout)).state == "done"
    assert cluster.workers["w1"].engine.info.draft_version == new.version
    assert len(cluster.workers["w1"].engine.load().drafted) == 5
