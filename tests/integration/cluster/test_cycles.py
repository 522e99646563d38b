"""Versions are published and rolled out under load: the short form of `python -m tests.robustness.cycles`."""

from random import Random

import httpx

from services.router.app import RouterApp
from services.shared.manifests import Manifest
from services.shared.rpc import channel
from services.shared.swap_mode import SwapMode
from tests.integration.cluster.test_swaps import clients, config, mark
from tests.integration.cluster.whole import WholeCluster
from tests.integration.worker.store import FILES, publish
from tests.robustness.cycles.load import load
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

WORKERS, CYCLES, PER_SECOND = 3, 3, 15.0
LIMIT_S = 120.0


async def roll(router: RouterApp, version: str, mode: SwapMode) -> None:
    """Starts a rollout, and waits until it is done."""
    request = pb.StartRolloutRequest(pool="tide", model_version=version, mode=pb.SwapMode.Value(mode.proto_name))
    async with channel(router.address) as opened:
        control = ControlServiceStub(opened)
        await control.StartRollout(request, timeout=LIMIT_S)

        async def has_ended() -> bool:
            rollout = (await control.GetRollout(pb.GetRolloutRequest(pool="tide"), timeout=LIMIT_S)).rollout
            assert rollout.state in (pb.ROLLOUT_STATE_ROLLING, pb.ROLLOUT_STATE_DONE), rollout.reason
            return rollout.state == pb.ROLLOUT_STATE_DONE

        await wait_until(has_ended, description="the rollout is done", timeout=LIMIT_S, every=0.1)


async def cached_tokens(http: httpx.AsyncClient) -> int:
    """Tokens of a prompt of its own that were found in the prefix cache."""
    messages = [{"role": "user", "content": "Only this question names the lighthouse keeper's wooden leg. " * 4}]
    answer = await http.post("chat/completions", json={"model": "tide", "messages": messages, "max_tokens": 2})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


async def test_versions_follow_each_other_under_load_and_a_rollback_finds_its_cache(cluster: WholeCluster) -> None:
    await cluster.write_config(config(swap_s=0.05))
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    apps = [await cluster.start_worker(f"w{number}", router.address) for number in range(WORKERS)]
    for app in apps:
        await wait_until(lambda app=app: app.ready() is None, description="the worker is ready", timeout=60)  # type: ignore[misc]
    versions: list[Manifest] = [manifest_of(FILES)]
    async with clients(gateway) as http:
        http.base_url = http.base_url.join("/v1/")
        async with load(http, "tide", PER_SECOND, Random(1), long_share=0.02) as made:
            for number, mode in zip(range(CYCLES), SwapMode, strict=True):
                files = FILES | {"model.safetensors": tensor_file(f"new {number:03d}".encode())}
                versions.append(await publish(cluster.store, files))
                await roll(router, versions[-1].version, mode)
        assert await cached_tokens(http) == 0
        known = await cached_tokens(http)
        await roll(router, versions[-2].version, SwapMode.FINISH)
        assert (await cached_tokens(http), known > 0) == (0, True)
        await roll(router, versions[-1].version, SwapMode.FINISH)
        assert await cached_tokens(http) == known
    assert made.violations({mark(each): each.weights_sha256 for each in versions}) == []
    assert made.cached > 0
    assert {piece.fingerprint for answer in made.answers for piece in answer.pieces} >= set(map(mark, versions[:-1]))
