"""Each file of the Lua library alone: it loads without Redis, and its functions do what they say."""

from typing import Any

import pytest
import redis

from services.router.redis.scripts import Composition
from services.shared.classes import ServiceClass
from tests.integration.router.lua_harness import KEYS, LuaLibrary, library_names

NOW_MS = 1_000_000
MINUTE_MS = 60_000
SILENT = "local redis = { call = function(...) error('called Redis while it was loaded') end }\n"


@pytest.fixture
def library(redis_client: redis.Redis) -> LuaLibrary:
    return LuaLibrary(redis_client, now_ms=NOW_MS)


def worker(client: redis.Redis, worker_id: str, **fields: str | int) -> None:
    """A ready worker with two slots that was heard of just now."""
    ready: dict[Any, Any] = {
        "state": "ready",
        "slots": 2,
        "kv_tokens": 1_000,
        "version": "v1",
        "adapters": "",
        "loaded": "",
        "quiet_ms": NOW_MS + 1,
        "epoch": 1,
    }
    client.hset(KEYS.key("worker:", worker_id), mapping=ready | fields)
    client.zadd(KEYS.key("workers"), {worker_id: NOW_MS + 10_000})


def request(**fields: str) -> str:
    """A request, as Lua code: `fields` are Lua expressions."""
    plain = {
        "id": "'r'",
        "rank": "1",
        "tenant": "'ann'",
        "tag": "0",
        "kv": "100",
        "prompt": "50",
        "excluded": "''",
        "version": "''",
        "adapter": "''",
    }
    return "{ " + ", ".join(f"{name} = {value}" for name, value in {**plain, **fields}.items()) + " }"


@pytest.mark.parametrize("policy", ["prefix", "least_load", "round_robin"])
@pytest.mark.parametrize("name", library_names())
def test_a_file_loads_without_a_call_of_redis(redis_client: redis.Redis, name: str, policy: str) -> None:
    script = Composition(policy, overtaking=3, isolation=0.4).compose("test", f"-- @require {name}\nreturn 'loaded'\n")
    arguments = ["0"] * len(script.arguments)
    assert redis_client.eval(SILENT + script.source, 1, KEYS.root, *arguments) == "loaded"


# ---- fair_queue and start_tags


def test_the_fair_queue_counts_what_joins_and_leaves(library: LuaLibrary, redis_client: redis.Redis) -> None:
    assert library.run("fair_queue", "return length(1), anyone_waits()") == [0, False]
    library.run("fair_queue", "join(1, '0000000000001:a', 5, 40) join(1, '0000000000002:b', 3, 60)")
    assert library.run("fair_queue", "return length(1), anyone_waits()") == [2, True]
    assert redis_client.zrange(KEYS.key("queue:", "default"), 0, -1) == ["0000000000002:b", "0000000000001:a"]
    state = {"since1": str(NOW_MS), "tokens1": "100"}
    assert redis_client.hgetall(KEYS.key("turns")) == state
    assert library.run("fair_queue", "leave(1, '0000000000002:b', 60) return length(1)") == [1]
    assert redis_client.hgetall(KEYS.key("turns")) == {**state, "tokens1": "40"}


def test_a_place_in_line_has_the_arrival_and_the_request(library: LuaLibrary) -> None:
    assert library.call("start_tags", "place_in_line", "a") == "0000000000001:a"
    assert library.call("start_tags", "place_in_line", "b") == "0000000000002:b"
    assert library.call("fair_queue", "request_at", "0000000000002:b") == "b"


def test_a_request_starts_where_its_tenants_last_one_ends(library: LuaLibrary) -> None:
    assert library.call("start_tags", "start_tag", 1, "ann", 100, 2.0) == 0
    assert library.call("start_tags", "start_tag", 1, "ann", 100, 2.0) == 50
    assert library.call("start_tags", "start_tag", 1, "bob", 100, 1.0) == 0
    library.run("start_tags", "take_turn(1, 70, true)")
    assert library.call("start_tags", "start_tag", 1, "bob", 1, 1.0) == 100
    assert library.call("start_tags", "start_tag", 1, "cid", 1, 1.0) == 70


def test_a_tenant_may_run_a_burst_ahead(redis_client: redis.Redis) -> None:
    library = LuaLibrary(redis_client, Composition("least_load", "simulated", burst_tokens=80))
    assert library.call("start_tags", "start_tag", 1, "ann", 100, 1.0) == 0
    assert library.call("start_tags", "start_tag", 1, "ann", 100, 1.0) == 20


def test_virtual_time_never_goes_back(library: LuaLibrary) -> None:
    library.run("start_tags", "take_turn(1, 70, true) take_turn(1, 30, true)")
    assert library.call("start_tags", "virtual_time", 1) == 70


# ---- limits

LIMIT = "{{ name = 'key', requests = 6, tokens = 600, concurrency = 0 }}"


def test_a_limit_refuses_when_its_budget_is_spent(library: LuaLibrary) -> None:
    look = f"local all = {LIMIT} local limit, wait = refusing(all, 300)"
    spend = f"{look} if not limit then charge(all) end return limit, wait"
    assert library.run("limits", spend) == []
    assert library.run("limits", spend) == []
    assert library.run("limits", spend) == ["key", MINUTE_MS // 2]
    library.set_clock(NOW_MS + MINUTE_MS // 2)
    assert library.run("limits", spend) == []


def test_a_request_that_no_budget_ever_holds_is_refused_for_ever(library: LuaLibrary) -> None:
    assert library.run("limits", f"return refusing({LIMIT}, 601)") == ["key", 0]


def test_concurrency_counts_open_requests(library: LuaLibrary) -> None:
    limit = "{{ name = 'key', requests = 0, tokens = 0, concurrency = 1 }}"
    library.run("limits", "open_limits('key 0', 'r1')")
    assert library.run("limits", f"return refusing({limit}, 1)") == ["key", 1000]
    library.run("limits", "close_limits('key 0', 'r1', 0)")
    assert library.run("limits", f"return refusing({limit}, 1)") == []


def test_clients_are_told_what_remains(library: LuaLibrary) -> None:
    spend = f"local all = {LIMIT} refusing(all, 150) charge(all) return limit_states(all)"
    [[state]] = library.run("limits", spend)
    assert state == {
        "name": "key",
        "requests_limit": 6,
        "requests_remaining": 5,
        "requests_reset_ms": 10_000,
        "tokens_limit": 600,
        "tokens_remaining": 450,
        "tokens_reset_ms": 15_000,
    }


# ---- worker_filter


@pytest.mark.parametrize(
    ("fields", "wanted", "how"),
    [
        ({}, {}, ["fits", True]),
        ({"quiet_ms": NOW_MS}, {}, ["unsuitable"]),
        ({}, {"version": "'v2'"}, ["unsuitable"]),
        ({}, {"adapter": "'red'"}, ["unsuitable"]),
        ({"adapters": ",red,"}, {"adapter": "'red'"}, ["fits", False]),
        ({"adapters": ",red,", "loaded": ",red,"}, {"adapter": "'red'"}, ["fits", True]),
        ({}, {"kv": "2000"}, ["fits", True]),
    ],
)
def test_whether_a_worker_fits(
    library: LuaLibrary,
    redis_client: redis.Redis,
    fields: dict[str, str | int],
    wanted: dict[str, str],
    how: list[str | bool],
) -> None:
    worker(redis_client, "w1", **fields)
    assert library.run("worker_filter", f"return fit('w1', {request(**wanted)})") == how


def test_a_worker_without_space_in_its_cache_is_full(library: LuaLibrary, redis_client: redis.Redis) -> None:
    worker(redis_client, "w1", kv_reserved=950)
    redis_client.sadd(KEYS.key("held:", "w1"), "other")
    assert library.run("worker_filter", f"return fit('w1', {request()})") == ["full"]
    redis_client.delete(KEYS.key("held:", "w1"))


def test_exclusions_do_not_count_when_no_other_worker_is_left(library: LuaLibrary, redis_client: redis.Redis) -> None:
    worker(redis_client, "w1")
    excluded = request(excluded="',w1,'")
    assert library.run("worker_filter", f"return fit('w1', {excluded})") == ["fits", True]
    worker(redis_client, "w2")
    assert library.run("worker_filter", f"return fit('w1', {excluded})") == ["unsuitable"]


def test_a_worker_that_has_the_adapter_in_memory_is_preferred(library: LuaLibrary, redis_client: redis.Redis) -> None:
    worker(redis_client, "w1", adapters=",red,")
    worker(redis_client, "w2", adapters=",red,", loaded=",red,")
    redis_client.zadd(KEYS.key("free"), {"w1": 0, "w2": 0.5})
    red = request(adapter="'red'")
    library.arguments = {"preempting": "1000", "preemptible": "0000"}
    assert library.run("worker_filter", f"return first_fit({red})") == ["w2"]


def test_a_hot_adapter_spreads_to_a_worker_that_has_less_to_do(library: LuaLibrary, redis_client: redis.Redis) -> None:
    worker(redis_client, "w1", adapters=",red,")
    worker(redis_client, "w2", adapters=",red,", loaded=",red,")
    redis_client.zadd(KEYS.key("free"), {"w1": 0, "w2": 0.5})
    redis_client.hset(KEYS.key("turns"), "slots", 8)
    held = [f"r{number}" for number in range(3)]
    redis_client.sadd(KEYS.key("held:", "w2"), *held)
    redis_client.zadd(KEYS.running(ServiceClass.DEFAULT), dict.fromkeys(held, 0))
    library.arguments = {"preempting": "1000", "preemptible": "0000"}
    red = request(adapter="'red'")
    assert library.run("worker_filter", f"return (first_fit({red}))") == ["w1"]


# ---- eligibility


def test_free_workers_come_in_the_order_of_the_policy(library: LuaLibrary, redis_client: redis.Redis) -> None:
    redis_client.zadd(KEYS.key("free"), {"w1": 0.5, "w2": 0.1, "w3": 0.9})
    assert library.run("eligibility", f"return eligible_workers({request()}, 2)") == [["w2", "w1"]]


def test_a_reserved_slot_is_for_classes_that_may_preempt(library: LuaLibrary, redis_client: redis.Redis) -> None:
    worker(redis_client, "w1")
    redis_client.zadd(KEYS.key("kept"), {"w1": 0.5})
    library.arguments = {"preempting": "1000", "preemptible": "0000"}
    assert library.run("eligibility", f"return reserved_share({request(rank='0')})") == ["all"]
    assert library.run("eligibility", f"return eligible_workers({request(rank='0')}, 2)") == [["w1"]]
    assert library.run("eligibility", f"return reserved_share({request(rank='1')})") == []
    assert library.run("eligibility", f"return eligible_workers({request(rank='1')}, 2)") == [{}]


def test_a_tenant_within_its_share_may_take_a_reserved_slot_while_others_wait(
    library: LuaLibrary, redis_client: redis.Redis
) -> None:
    library.arguments = {"preempting": "0000", "preemptible": "0000"}
    library.run("start_tags", "join(1, place_in_line('r1'), start_tag(1, 'loud', 100, 1), 100)")
    library.run("start_tags", "join(1, place_in_line('r2'), start_tag(1, 'loud', 100, 1), 100)")
    library.run("start_tags", "start_tag(1, 'ann', 10, 1)")
    assert library.run("eligibility", f"return reserved_share({request(tag='0')})") == ["fair"]
    assert library.run("eligibility", f"return reserved_share({request(tag='50')})") == []
    assert redis_client.hget(KEYS.key("turns"), "fair1") == str(NOW_MS)
