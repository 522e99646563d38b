"""Redis as operators run it: in a cluster, watched by Sentinels, behind TLS, full, demoted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import redis
from prometheus_client import CollectorRegistry
from redis.crc import key_slot

from services.router.app import RouterApp
from services.router.core.class_rules import Rules
from services.router.core.events import Granted, decode_answer, decode_event
from services.router.core.keys import PoolKeys
from services.router.redis.connection import RedisAccess
from services.router.redis.metrics import ScriptMetrics
from services.router.redis.script_runner import RedisUnavailable, ScriptRunner
from services.router.redis.scripts import Composition, PoolScripts, Submission, WorkerReport
from services.router.redis.url import RedisUrl
from services.router.settings import RouterSettings
from services.shared.classes import ServiceClass
from services.shared.config import Cluster, Pool
from services.shared.lifecycle import Tasks
from services.shared.settings import WrongSettings
from tests.support import redis_servers
from tests.support.peers import Gateway, gateway, worker
from tests.support.redis_servers import behind_tls, redis_cluster, watched_by_sentinel
from tests.support.tls import Authority
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

RULES = Rules.of_cluster(Cluster(pools=(Pool(name="tide", model="tide"),)))
# What a router needs, and no more (docs/deploy.md).
ACL = "resetkeys ~tidegate:* nocommands +@read +@write +@scripting +@connection +info +time +cluster|slots"


@asynccontextmanager
async def running_store(access: RedisAccess, *pools: str) -> AsyncIterator[ScriptRunner]:
    store = ScriptRunner(access, [PoolKeys(pool) for pool in pools], ScriptMetrics(CollectorRegistry()))
    tasks = Tasks()
    for pool, sender in store.senders():
        tasks.start(sender, pool)
    yield store
    await tasks.stop()
    await store.close()


async def serve_two(store: ScriptRunner, pool: str) -> None:
    """The queue's whole way: one request is granted, the next waits for its end and follows."""
    scripts = PoolScripts(PoolKeys(pool), "router", Composition("prefix"))
    report = WorkerReport("w1", 1, "ready", 1, 10_000, "v1", "w1:1", b"")
    assert (await store.call(scripts.heartbeat(report, RULES, lease_ms=60_000)))[0] == 1
    kinds = []
    for request_id in ("r1", "r2"):
        submission = Submission("s", request_id, 1, ServiceClass.DEFAULT, 10, 60_000)
        document, _ = await store.call(scripts.submit(submission, RULES, lease_ms=60_000, no_worker_grace_ms=0))
        kinds.append(type(decode_answer(document, "s", request_id, 1)).__name__)
    assert kinds == ["Granted", "Queued"]
    _, events = await store.call(scripts.finish("r1", 1, RULES, actual_tokens=10))
    assert [getattr(decode_event(event), "request_id", "") for event in events] == ["r2"]


async def test_calls_run_in_order_whichever_scripts_the_server_knows(
    redis_server: str, redis_client: redis.Redis
) -> None:
    """As when another replica has loaded the later one: no finish runs after the submit that it makes room for."""
    access = RedisAccess(RedisUrl.parse(redis_server))
    scripts = PoolScripts(PoolKeys("tide"), "router", Composition("prefix"))
    finish = scripts.finish("r2", 1, RULES, actual_tokens=10)
    submission = Submission("s", "r3", 1, ServiceClass.DEFAULT, 10, 60_000)
    submit = scripts.submit(submission, RULES, lease_ms=60_000, no_worker_grace_ms=0)
    async with running_store(access, "tide") as before:
        await serve_two(before, "tide")
    redis_client.script_flush()
    redis_client.script_load(submit.script.source)
    async with running_store(access, "tide") as store:
        _, (document, _) = await asyncio.gather(store.call(finish), store.call(submit))
    assert isinstance(decode_answer(document, "s", "r3", 1), Granted)


async def test_scripts_that_an_operator_flushed_are_loaded_again(redis_server: str, redis_client: redis.Redis) -> None:
    async with running_store(RedisAccess(RedisUrl.parse(redis_server)), "tide") as store:
        await serve_two(store, "tide")
        redis_client.script_flush()
        assert await finished(store, PoolScripts(PoolKeys("tide"), "router", Composition("prefix")), "r2")


async def test_every_pool_of_a_cluster_is_kept_by_the_node_that_has_its_slot(tmp_path: Path) -> None:
    async with redis_cluster(tmp_path) as cluster:
        pools = [f"pool-{n}" for n in range(6)]
        async with running_store(RedisAccess(RedisUrl.parse(cluster.url)), *pools) as store:
            await store.check()
            for pool in pools:
                await serve_two(store, pool)
        for node in cluster.nodes:
            with node.client() as client:
                assert client.keys("tidegate:*:turns"), "each node has a pool"


async def test_a_slot_that_moves_makes_its_pool_wait_and_loses_nothing(tmp_path: Path) -> None:
    keys = PoolKeys("tide")
    scripts, slot = PoolScripts(keys, "router", Composition("prefix")), key_slot(keys.root.encode())
    async with redis_cluster(tmp_path) as cluster:
        begin = next(node for node in cluster.nodes if slot_is_here(node, slot))
        end = next(node for node in cluster.nodes if node is not begin)
        async with running_store(RedisAccess(RedisUrl.parse(cluster.url)), "tide") as store:
            await serve_two(store, "tide")
            for _ in cluster.move(slot, begin, end):
                with pytest.raises(RedisUnavailable):
                    await store.call(scripts.finish("r2", 1, RULES, actual_tokens=10))
            await wait_until(lambda: finished(store, scripts, "r2"), description="the pool is found again")


def slot_is_here(node: redis_servers.Server, slot: int) -> bool:
    with node.client() as client:
        mine = client.cluster("MYID")
        return any(
            first <= slot <= last and owner[2] == mine for first, last, owner in client.execute_command("CLUSTER SLOTS")
        )


async def finished(store: ScriptRunner, scripts: PoolScripts, request_id: str) -> bool:
    try:
        ended, _ = await store.call(scripts.finish(request_id, 1, RULES, actual_tokens=10))
    except RedisUnavailable:
        return False
    assert ended >= 0, "it was there still"
    return True


async def test_the_promoted_replica_is_found_and_order_goes_on(tmp_path: Path, settings: RouterSettings) -> None:
    async with watched_by_sentinel(tmp_path) as watched:
        # Leases that outlast the failover: what was granted stays so.
        leases = {"session_lease_ms": 30_000, "worker_lease_ms": 30_000, "detach_grace_ms": 30_000}
        router = RouterApp(settings.model_copy(update={"redis_url": RedisUrl.parse(watched.url), **leases}))
        await router.start()
        try:
            async with worker(router.address), gateway(router.address, "same") as before:
                await before.submit("running")
                assert await before.granted() == "running"
                await before.submit("waiting")
                await before.next("queued")
                await wait_until(lambda: is_known_to(watched.replica, "waiting"), description="it is replicated")
                watched.master.kill()
                await before.closed()
            async with worker(router.address), gateway(router.address, "same", held=("running", "waiting")) as after:
                await after.submit("waiting")
                await after.next("queued")
                await after.submit("running")
                assert await after.granted() == "running"
                await after.finish("running")
                assert await after.granted() == "waiting"
        finally:
            await router.stop()


def is_known_to(server: redis_servers.Server, request_id: str) -> bool:
    with server.client() as client:
        return bool(client.exists(PoolKeys("tide").key("request:", request_id)))


async def test_tls_and_an_account_with_few_rights_are_enough(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("router")
    with redis_servers.server(tmp_path) as hidden:
        with hidden.client() as client:
            client.execute_command("ACL", "SETUSER", "router", "on", ">pass:word", *ACL.split())
            client.execute_command("ACL", "SETUSER", "default", "off")
        async with behind_tls(hidden.port, authority.issue("redis")) as port:
            url = RedisUrl.parse(f"rediss://router:pass%3Aword@127.0.0.1:{port}")
            access = RedisAccess(url, shown.authority, shown.certificate, shown.key)
            async with running_store(access, "tide") as store:
                await store.check()
                await serve_two(store, "tide")
            for wrong in (replace(access, url=replace(url, password="no")), replace(access, authority=None)):
                async with running_store(wrong, "tide") as store:
                    with pytest.raises(redis.RedisError):
                        await store.check()


async def test_while_redis_is_read_only_requests_are_refused_and_then_served(
    settings: RouterSettings, redis_client: redis.Redis
) -> None:
    router = RouterApp(settings)
    await router.start()
    try:
        async with worker(router.address), gateway(router.address) as one:
            redis_client.replicaof("127.0.0.1", 1)
            await one.submit("r1")
            assert await refused(one) == pb.REJECT_REASON_STORE_UNAVAILABLE
            redis_client.replicaof("NO", "ONE")
            await one.closed()
        async with worker(router.address), gateway(router.address) as again:
            await again.submit("r1")
            assert await again.granted() == "r1"
    finally:
        redis_client.replicaof("NO", "ONE")
        await router.stop()


async def test_while_redis_is_full_what_runs_goes_on_and_what_comes_is_refused(
    settings: RouterSettings, redis_client: redis.Redis
) -> None:
    router = RouterApp(settings)
    await router.start()
    try:
        async with worker(router.address), gateway(router.address, "same") as one:
            await one.submit("running")
            assert await one.granted() == "running"
            await one.submit("waiting")
            await one.next("queued")
            redis_client.config_set("maxmemory", 1)
            await one.submit("late")
            assert await refused(one) == pb.REJECT_REASON_STORE_UNAVAILABLE
            renewed = lease_end(redis_client) + 2 * settings.session_lease_ms
            await wait_until(lambda: lease_end(redis_client) > renewed, description="leases are renewed all the same")
            await one.finish("running")
            assert await one.granted() == "waiting"
    finally:
        redis_client.config_set("maxmemory", 0)
        await router.stop()


def lease_end(client: redis.Redis) -> float:
    return float(client.zscore("tidegate:{tide}:sessions", "same") or 0)


async def refused(one: Gateway) -> int:
    reject = await one.next("reject")
    assert isinstance(reject, pb.Reject)
    assert reject.retry_after_ms > 0
    return reject.reason


async def test_a_redis_that_could_lose_the_queue_is_not_used(redis_server: str, redis_client: redis.Redis) -> None:
    access = RedisAccess(RedisUrl.parse(redis_server))
    async with running_store(access, "tide") as store:
        redis_client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(WrongSettings, match="allkeys-lru"):
            await store.check()
        redis_client.config_set("maxmemory-policy", "noeviction")
        await store.check()
    as_cluster = replace(access, url=replace(access.url, kind="cluster"))
    async with running_store(as_cluster, "tide") as store:
        with pytest.raises(redis.RedisError, match="cluster"):
            await store.check()


async def test_a_master_that_would_go_on_alone_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with watched_by_sentinel(tmp_path) as watched:
        async with running_store(RedisAccess(RedisUrl.parse(watched.url)), "tide") as store:
            await store.check()
            assert "min-replicas-to-write" in caplog.text
            caplog.clear()
            with watched.master.client() as client:
                client.config_set("min-replicas-to-write", 1)
            await store.check()
            assert not caplog.text
        replica = RedisAccess(RedisUrl.parse(f"redis://127.0.0.1:{watched.replica.port}"))
        async with running_store(replica, "tide") as store:
            with pytest.raises(redis.ReadOnlyError):
                await store.check()
