"""A password and a key are replaced while requests run: none of them fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from redis import Redis

from loadtests.redis_server import RedisServer
from services.gateway.app import GatewayApp
from services.router.app import RouterApp
from services.router.settings import RouterSettings
from services.shared import settings as shared_settings
from services.shared.manifests import Manifest
from services.shared.rpc import channel
from services.shared.settings import WrongSettings
from tests.integration.cluster.test_certificates import CLIENTS, CONFIG, keep_asking
from tests.integration.cluster.whole import WholeCluster, client_of, metrics_of
from tests.integration.worker.store import FILES, publish
from tests.support.signing import KEY, STRANGER
from tests.support.tensor_files import tensor_file
from tests.support.wait import wait_until
from tests.unit.worker.models import manifest_of
from tidegate.router.v1 import router_pb2 as pb
from tidegate.router.v1.router_pb2_grpc import ControlServiceStub

USER = "tidegate"


@asynccontextmanager
async def under_load(gateway: GatewayApp) -> AsyncIterator[list[str]]:
    """Keeps clients busy. The list gets their answers at the end; a failed request fails the test."""
    answers: list[str] = []
    done = asyncio.Event()
    async with client_of(gateway) as openai:
        clients = [asyncio.create_task(keep_asking(openai, done)) for _ in range(CLIENTS)]
        try:
            yield answers
        finally:
            done.set()
            answers += [answer for given in await asyncio.gather(*clients) for answer in given]


def connections(redis: Redis, user: str) -> list[Any]:
    return [client for client in redis.client_list() if client["user"] == user]


async def test_the_password_of_redis_is_replaced(cluster: WholeCluster, redis_server: RedisServer) -> None:
    redis: Any = redis_server.client
    file = cluster.folder / "password"
    redis.execute_command("ACL", "SETUSER", USER, "on", ">old", "~*", "&*", "+@all")
    file.write_text("old\n")
    host = urlsplit(cluster.redis_url).netloc
    cluster.redis_url = f"redis://{USER}@{host}/0"
    await cluster.write_config(CONFIG)
    router = await cluster.router(redis_password_file=file)
    gateway = await cluster.gateway(router.address)
    worker = await cluster.start_worker("worker-1", router.address)
    await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)
    async with under_load(gateway) as answers:
        redis.execute_command("ACL", "SETUSER", USER, ">new")
        file.write_text("new\n")
        redis.execute_command("ACL", "SETUSER", USER, "<old")
        before = {client["id"] for client in connections(redis, USER)}
        redis.execute_command("CLIENT", "KILL", "USER", USER)
        await wait_until(
            lambda: {client["id"] for client in connections(redis, USER)} - before,
            description="the router is back with the new password",
            timeout=60,
        )
    assert len(answers) >= CLIENTS
    assert len(set(answers)) == 1


def test_two_passwords_are_refused(tmp_path: Path) -> None:
    given = {"redis_url": "redis://:secret@h/0", "redis_password_file": tmp_path / "password"}
    told = {"config": tmp_path / "t.yaml", "listen": "h:1", "http_listen": "h:2", **given}
    with pytest.raises(WrongSettings, match="redis_url has a password, and redis_password_file another one"):
        shared_settings.check(RouterSettings, told)


async def test_the_key_that_signs_models_is_replaced(cluster: WholeCluster) -> None:
    """Workers trust both keys for a while. Then one that trusts only the new key serves what that one has signed."""
    await cluster.write_config(CONFIG)
    router = await cluster.router()
    gateway = await cluster.gateway(router.address)
    both = f"{KEY.public},{STRANGER.public}"
    worker = await cluster.start_worker("worker-1", router.address, trusted_keys=both)
    await wait_until(lambda: worker.ready() is None, description="the worker is ready", timeout=60)
    signed = await publish_signed_by_the_new_key(cluster)
    async with under_load(gateway) as answers:
        await start_rollout(router, signed.version)
        await wait_until(lambda: is_done(router), description="the rollout is done", timeout=60)
        other = await cluster.start_worker("worker-2", router.address, trusted_keys=STRANGER.public)
        await wait_until(lambda: other.ready() is None, description="a worker of the new key is ready", timeout=60)
        await cluster.stop_worker("worker-1")
    assert other.engine.info.model_version == signed.version
    assert len(answers) >= CLIENTS


async def publish_signed_by_the_new_key(cluster: WholeCluster) -> Manifest:
    files = FILES | {"model.safetensors": tensor_file(b"newer!!")}
    manifest = STRANGER.sign(manifest_of(files))
    return await publish(cluster.store, files, manifest)


async def is_done(router: RouterApp) -> bool:
    return (await metrics_of(router)).get('tidegate_router_rollouts_total{pool="tide",state="done"}') == 1


async def start_rollout(router: RouterApp, version: str) -> None:
    request = pb.StartRolloutRequest(pool="tide", model_version=version)
    async with channel(router.address) as opened:
        await ControlServiceStub(opened).StartRollout(request, timeout=10)
