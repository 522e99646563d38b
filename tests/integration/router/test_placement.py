"""Placement: a request goes to the worker that has its prefix cached, within balance, and only where it fits."""

from collections import Counter
from contextlib import AsyncExitStack
from typing import Any, cast

import redis

from services.router.app import RouterApp
from tests.support.peers import Gateway, Worker, gateway, worker
from tests.support.wait import wait_until
from tidegate.router.v1 import router_pb2 as pb

Routers = tuple[RouterApp, RouterApp]

ROOT = "tidegate:{tide}:"
BLOCK_TOKENS = 64


def prompt(*blocks: int) -> dict[str, Any]:
    return {
        "block_hashes": list(blocks),
        "block_tokens": BLOCK_TOKENS,
        "cost": pb.Cost(prompt_tokens=len(blocks) * BLOCK_TOKENS),
    }


async def place(peer: Gateway, request_id: str, **fields: Any) -> pb.Grant:
    await peer.submit(request_id, **fields)
    grant = await peer.next("grant")
    assert isinstance(grant, pb.Grant)
    return grant


async def known_to(client: redis.Redis, peer: Worker) -> None:
    """Waits until Redis has the worker's last heartbeat."""
    key, wanted = f"{ROOT}worker:{peer.heartbeat.worker_id}", peer.heartbeat
    told = [wanted.model_version, str(wanted.epoch), str(wanted.load.kv_tokens_used)]
    await wait_until(
        lambda: client.hmget(key, "version", "epoch", "kv_used") == told, description="the heartbeat is in Redis"
    )


async def test_the_same_prefix_goes_to_the_same_worker_through_any_replica(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "w1", slots=8),
        worker(routers[1].address, "w2", slots=8),
        gateway(routers[0].address) as one,
        gateway(routers[1].address) as two,
    ):
        first = await place(one, "r1", **prompt(1, 2, 3))
        await one.finish("r1")
        other = await place(one, "filler")
        again = await place(two, "r2", **prompt(1, 2, 3, 4))
        assert (first.expected_cached_tokens, again.expected_cached_tokens) == (0, 3 * BLOCK_TOKENS)
        assert again.worker_id == first.worker_id
        assert other.worker_id in ("w1", "w2")


async def test_a_prompt_does_not_wait_where_others_are_computed(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "w1", slots=8, prefill_tokens_per_s=10),
        worker(routers[1].address, "w2", slots=8, prefill_tokens_per_s=10),
        gateway(routers[0].address) as one,
    ):
        long = await place(one, "long", **prompt(1, 2, 3, 4, 5, 6, 7, 8))
        # Its prefix is cached there, in 51 s; computed elsewhere it takes 26 s.
        second = await place(one, "second", **prompt(1, 2, 3, 9))
        assert (second.worker_id == long.worker_id, second.expected_cached_tokens) == (False, 0)
        # Now it is cached there in 26 s, and no worker could have computed it sooner.
        third = await place(one, "third", **prompt(1, 2, 3, 9))
        assert (third.worker_id, third.expected_cached_tokens) == (second.worker_id, 4 * BLOCK_TOKENS)


async def test_workers_that_compute_prompts_at_once_are_chosen_by_their_cache(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "w1", slots=8, prefill_tokens_per_s=2**31),
        worker(routers[1].address, "w2", slots=8, prefill_tokens_per_s=2**31),
        gateway(routers[0].address) as one,
    ):
        placed = [await place(one, f"r{n}", **prompt(1, 2, 3)) for n in range(2)]
        assert placed[1].worker_id == placed[0].worker_id
        assert placed[1].expected_cached_tokens == 3 * BLOCK_TOKENS


async def test_no_worker_gets_more_than_its_share_of_one_prefix(routers: Routers) -> None:
    async with AsyncExitStack() as stack:
        for n in range(4):
            await stack.enter_async_context(worker(routers[0].address, f"w{n}", slots=16))
        one = await stack.enter_async_context(gateway(routers[1].address))
        placed: Counter[str] = Counter()
        for n in range(32):
            placed[(await place(one, f"r{n}", **prompt(1, 2, 3))).worker_id] += 1
            # 1.25 times the mean, and one more.
            assert max(placed.values()) <= 1.25 * placed.total() / 4 + 1
        assert len(placed) == 4


async def test_a_cache_belongs_to_a_version_and_ends_with_its_process(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with worker(routers[0].address, slots=8) as w1, gateway(routers[0].address) as one:
        await place(one, "r1", **prompt(1, 2, 3))
        assert (await place(one, "r2", **prompt(1, 2, 3))).expected_cached_tokens == 3 * BLOCK_TOKENS
        w1.heartbeat.model_version = "v2"
        await known_to(redis_client, w1)
        assert (await place(one, "r3", **prompt(1, 2, 3))).expected_cached_tokens == 0
        assert (await place(one, "r4", **prompt(1, 2, 3))).expected_cached_tokens == 3 * BLOCK_TOKENS
        w1.heartbeat.model_version = "v1"
        await known_to(redis_client, w1)
        assert (await place(one, "back", **prompt(1, 2, 3, 4))).expected_cached_tokens == 3 * BLOCK_TOKENS
        w1.heartbeat.model_version = "v3"
        await known_to(redis_client, w1)
        w1.heartbeat.model_version = "v2"
        await known_to(redis_client, w1)
        assert (await place(one, "two", **prompt(1, 2, 3))).expected_cached_tokens == 0, "only one version is kept"
        w1.heartbeat.epoch += 1
        await known_to(redis_client, w1)
    async with worker(routers[1].address, slots=8, epoch=9, version="v2"), gateway(routers[0].address) as one:
        assert (await place(one, "r5", **prompt(1, 2, 3))).expected_cached_tokens == 0


async def test_the_index_of_a_cache_is_as_large_as_the_cache(routers: Routers, redis_client: redis.Redis) -> None:
    async with worker(routers[0].address, slots=8, kv_tokens=10 * BLOCK_TOKENS), gateway(routers[0].address) as one:
        for n in range(10):
            await place(one, f"r{n}", **prompt(3 * n, 3 * n + 1, 3 * n + 2))
            await one.finish(f"r{n}")
        assert int(cast(str, redis_client.hget(f"{ROOT}worker:w1", "cached"))) <= 10 * BLOCK_TOKENS
        assert (await place(one, "last", **prompt(27, 28, 29))).expected_cached_tokens == 3 * BLOCK_TOKENS
        await one.finish("last")
        assert (await place(one, "oldest", **prompt(0, 1, 2))).expected_cached_tokens == 0


async def test_both_versions_of_a_worker_share_the_room_of_its_cache(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with (
        worker(routers[0].address, slots=8, kv_tokens=10 * BLOCK_TOKENS) as w1,
        gateway(routers[0].address) as one,
    ):

        async def ask(name: str, *blocks: int) -> int:
            grant = await place(one, name, **prompt(*blocks))
            await one.finish(name)
            return grant.expected_cached_tokens // BLOCK_TOKENS

        for n in range(3):
            await ask(f"v1-{n}", 3 * n, 3 * n + 1, 3 * n + 2)
        w1.heartbeat.model_version = "v2"
        await known_to(redis_client, w1)
        await ask("v2", 0, 1, 2, 30)
        both = cast("list[str]", redis_client.hmget(f"{ROOT}worker:w1", "cached", "former_cached"))
        assert [int(tokens) // BLOCK_TOKENS for tokens in both] == [4, 6]
        w1.heartbeat.model_version = "v1"
        await known_to(redis_client, w1)
        assert [await ask(f"kept-{n}", 3 * n, 3 * n + 1, 3 * n + 2) for n in (2, 1)] == [3, 3]
        assert await ask("evicted", 0, 1, 2) == 0
        caches = cast("list[str]", redis_client.hmget(f"{ROOT}worker:w1", "cache", "former"))
        counted = cast("list[str]", redis_client.hmget(f"{ROOT}worker:w1", "cached", "former_cached"))
        for cache, tokens in zip(caches, counted, strict=True):
            held = cast("list[str]", redis_client.zrange(f"{ROOT}cache:{cache}", 0, -1))
            assert int(tokens) == sum(int(marker.split(".")[1]) for marker in held)


async def test_a_prefix_that_all_workers_hold_does_not_empty_their_caches(
    routers: Routers, redis_client: redis.Redis
) -> None:
    """Eight holders are known for a prefix. The one that a ninth replaces no longer counts it as cached."""
    async with AsyncExitStack() as stack:
        names = [f"w{n:02d}" for n in range(12)]
        for name in names:
            await stack.enter_async_context(worker(routers[0].address, name, slots=4))
        one = await stack.enter_async_context(gateway(routers[1].address))
        for n in range(24):
            others = [name for name in names if name != names[n % 12]]
            await place(one, f"r{n}", excluded_workers=others, **prompt(1, 2, 3))
            await one.finish(f"r{n}")
        await place(one, "last")
        for name in names:
            cache, counted = cast("list[str]", redis_client.hmget(f"{ROOT}worker:{name}", "cache", "cached"))
            held = cast("list[str]", redis_client.zrange(f"{ROOT}cache:{cache}", 0, -1))
            assert int(counted) == sum(int(marker.split(".")[1]) for marker in held)


async def test_a_pinned_version_and_an_adapter_are_served_only_where_they_are(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "old", slots=2, version="v1"),
        worker(routers[1].address, "new", slots=2, version="v2") as new,
        gateway(routers[0].address) as one,
    ):
        new.heartbeat.adapters.append("pirate")
        await new.beat()
        assert (await place(one, "r1", model_version="v2")).worker_id == "new"
        assert (await place(one, "r2", model_version="v1")).worker_id == "old"
        await one.submit("r3", adapter="pirate")
        await one.submit("r4", model_version="v2")
        assert {(await one.next(kind)).request_id for kind in ("grant", "queued")} == {"r3", "r4"}  # type: ignore[attr-defined]


async def test_a_request_that_no_free_worker_fits_is_passed_over(routers: Routers) -> None:
    async with (
        worker(routers[0].address, "old", slots=2, version="v1"),
        worker(routers[1].address, "new", slots=1, version="v2"),
        gateway(routers[0].address) as one,
    ):
        assert (await place(one, "r1", model_version="v2")).worker_id == "new"
        await one.submit("pinned", model_version="v2")
        await one.next("queued")
        assert (await place(one, "free")).worker_id == "old"
        await one.finish("r1")
        assert await one.granted() == "pinned"


async def test_an_engine_that_waits_with_a_full_cache_gets_nothing_more(
    routers: Routers, redis_client: redis.Redis
) -> None:
    async with worker(routers[0].address, slots=8, kv_tokens=1000) as w1, gateway(routers[0].address) as one:
        await place(one, "r1")
        w1.heartbeat.load.kv_tokens_used, w1.heartbeat.load.waiting = 990, 1
        await w1.beat()
        await known_to(redis_client, w1)
        await one.submit("r2")
        await one.next("queued")
        w1.heartbeat.load.kv_tokens_used, w1.heartbeat.load.waiting = 500, 0
        await w1.beat()
        assert await one.granted() == "r2"


async def test_a_version_that_is_preferred_counts_while_a_worker_of_it_has_a_slot(
    routers: Routers, redis_client: redis.Redis
) -> None:
    """An answer goes on with its version where that has a slot, and does not wait for it while another has one."""
    address = routers[0].address
    wants: dict[str, Any] = {"attempt": 2, "at_head": True, "model_version": "old", "model_version_optional": True}
    async with (
        worker(address, "w1", slots=1, version="old") as old,
        worker(routers[1].address, "w2", slots=1, version="new") as new,
        gateway(address) as peer,
    ):
        await known_to(redis_client, old)
        await known_to(redis_client, new)
        assert (await place(peer, "r1", **wants)).model_version == "old"
        assert (await place(peer, "r2", **wants)).model_version == "new"
        for waiting in ("r3", "r4"):
            await peer.submit(waiting, **wants)
            assert await peer.next("queued")
        await peer.finish("r1", attempt=2)
        first = await peer.next("grant")
        await peer.finish("r2", attempt=2)
        second = await peer.next("grant")
        assert isinstance(first, pb.Grant)
        assert isinstance(second, pb.Grant)
        assert (first.model_version, second.model_version) == ("old", "new")
        await peer.finish(second.request_id, attempt=2)
        await peer.finish(first.request_id, attempt=2)
        old.heartbeat.state = pb.WORKER_STATE_SWAPPING
        await old.beat()
        assert (await place(peer, "r5", **wants)).model_version == "new"
