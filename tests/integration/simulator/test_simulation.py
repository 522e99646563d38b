"""The simulation on a real Redis: the same seed gives the same result, and the scripts do what they are for."""

from collections.abc import Iterator

import pytest
import redis

from loadtests import redis_server
from loadtests.lengths import Fixed, Lognormal
from loadtests.profile import Chats, Objectives, Prefixes
from loadtests.simulator import traffic
from loadtests.simulator.ask import BLOCK_TOKENS
from loadtests.simulator.measures import Measures
from loadtests.simulator.policies import POLICIES, Policy
from loadtests.simulator.scenario import ClassTraffic, Flood, Scenario
from loadtests.simulator.study import Laboratory
from loadtests.simulator.verdict import ttft_p99
from services.shared.engine_settings import SimulatedEngine

ENGINE = SimulatedEngine(block_tokens=BLOCK_TOKENS, max_running=16, context_tokens=4096, kv_tokens=32_768)
SMALL = Scenario(
    name="small",
    seed=7,
    duration_s=8,
    warmup_s=2,
    workers=4,
    engine=ENGINE,
    tenants=5,
    classes={
        "priority": ClassTraffic(weight=1, objectives=Objectives(ttft_ms=500)),
        "default": ClassTraffic(weight=9, objectives=Objectives(ttft_ms=2000)),
    },
    prompt_tokens=Lognormal(median=120, sigma=0.7, max=1000),
    output_tokens=Lognormal(median=100, sigma=0.5, max=400),
    prefixes=Prefixes(count=2, tokens=Fixed(value=512), zipf=1.0),
    chats=Chats(turns=Fixed(value=3), think_s=1.0),
)
EASY, HARD = 20.0, 150.0
"""Requests per second: a fraction of what four workers can do, and about twice of it."""


@pytest.fixture(scope="module")
def client() -> Iterator[redis.Redis]:
    with redis_server.running() as running:
        yield running.client


def run(client: redis.Redis, policy: Policy, rate: float, scenario: Scenario = SMALL) -> Measures:
    laboratory = Laboratory(client, lambda title, share, ended: None)
    return laboratory.run(scenario, policy, traffic.generate(scenario, rate), policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_result_to_the_last_digit(client: redis.Redis, policy: Policy) -> None:
    first, second = run(client, policy, 40.0), run(client, policy, 40.0)
    assert first == second
    other = run(client, policy, 40.0, SMALL.model_copy(update={"seed": 8}))
    assert other != first


def test_overload_is_borne_by_the_class_below(client: redis.Redis) -> None:
    easy, hard = run(client, "prefix", EASY), run(client, "prefix", HARD)
    priority = hard.classes["priority"].wait_ms
    default = hard.classes["default"].wait_ms
    assert priority is not None
    assert default is not None
    assert default.p50 > 500, "no overload: this proves nothing"
    assert priority.p99 <= 2, "a slot is kept for it"
    assert ttft_p99(hard, "priority") < 3 * ttft_p99(easy, "priority")


def test_without_classes_overload_is_borne_by_all(client: redis.Redis) -> None:
    hard = run(client, "radix", HARD)
    assert ttft_p99(hard, "priority") > 1000


def test_prefixes_are_found_where_they_are_cached(client: redis.Redis) -> None:
    hits = {policy: run(client, policy, EASY).hit_rate for policy in POLICIES}
    assert hits["prefix"] > 1.2 * hits["least_load"]
    assert hits["prefix"] > 1.2 * hits["round_robin"]


def test_a_flood_is_kept_from_the_other_tenants(client: redis.Redis) -> None:
    calm = run(client, "prefix", 50.0)
    flood = SMALL.model_copy(update={"flood": Flood(times=20.0)})
    ours, theirs = run(client, "prefix", 50.0, flood), run(client, "radix", 50.0, flood)
    others = [tenant for tenant in calm.tenants_ttft_p99_ms if tenant != traffic.FLOODING]
    assert ours.tenants_ttft_p99_ms[traffic.FLOODING] > 1000, "no flood: this proves nothing"
    for tenant in others:
        assert ours.tenants_ttft_p99_ms[tenant] < 0.5 * theirs.tenants_ttft_p99_ms[tenant]
