"""How much each sequence computes in a step, and which one is preempted when the KV cache is full."""

from services.worker.engine.simulated.kv import KvCache
from services.worker.engine.simulated.scheduler import Scheduler, Sequence


def make(kv_tokens: int = 1024, max_running: int = 4, step_tokens: int = 64) -> tuple[Scheduler, KvCache]:
    kv = KvCache(kv_tokens, 16)
    return Scheduler(kv, max_running, step_tokens), kv


def sequence(length: int, first: int = 0, salt: bytes = b"", rank: int = 0) -> Sequence:
    return Sequence(list(range(first, first + length)), length, salt, rank)


def step(scheduler: Scheduler) -> list[Sequence]:
    """Runs one step and appends the new tokens."""
    gaining = scheduler.commit(scheduler.plan())
    for one in gaining:
        one.tokens.append(1)
    return gaining


def test_a_long_prompt_is_computed_in_chunks_beside_others() -> None:
    scheduler, _ = make(step_tokens=64)
    short, long = sequence(10), sequence(150, first=500)
    scheduler.add(short)
    scheduler.add(long)
    assert [share.tokens for share in scheduler.plan()] == [10, 54]
    assert step(scheduler) == [short]
    assert step(scheduler) == [short]
    assert step(scheduler) == [short, long]


def test_at_most_max_running_sequences_run() -> None:
    scheduler, _ = make(max_running=2)
    for first in (0, 100, 200):
        scheduler.add(sequence(8, first))
    step(scheduler)
    assert (len(scheduler.running), len(scheduler.waiting)) == (2, 1)


def test_a_shared_prefix_is_computed_once() -> None:
    scheduler, _ = make(step_tokens=256)
    first = sequence(40)
    scheduler.add(first)
    step(scheduler)
    second, other_tenant = sequence(40), sequence(40, salt=b"other")
    scheduler.add(second)
    scheduler.add(other_tenant)
    step(scheduler)
    assert (first.cached_tokens, second.cached_tokens, other_tenant.cached_tokens) == (0, 32, 0)


def test_a_sequence_that_finds_kv_of_other_weights_says_so() -> None:
    """No engine lets that happen. If one did, its answers would be wrong, and drills must see it."""
    scheduler, kv = make(step_tokens=256)
    kv.weights = "old"
    first, same = sequence(40), sequence(40)
    scheduler.add(first)
    step(scheduler)
    scheduler.add(same)
    step(scheduler)
    kv.weights = "new"
    stale, other = sequence(40), sequence(40, salt=b"new")
    scheduler.add(stale)
    scheduler.add(other)
    step(scheduler)
    assert [each.foreign for each in (first, same, stale, other)] == ["", "", "old", ""]


def test_a_wholly_cached_prompt_still_computes_its_last_token() -> None:
    scheduler, _ = make()
    twice = [sequence(32), sequence(32)]
    for one in twice:
        scheduler.add(one)
        assert step(scheduler) == [one]
        scheduler.remove(one)
    assert [one.cached_tokens for one in twice] == [0, 16]


def test_when_the_cache_is_full_the_youngest_is_preempted_and_comes_back() -> None:
    scheduler, kv = make(kv_tokens=64, step_tokens=256)
    old, young = sequence(30), sequence(30, first=500)
    scheduler.add(old)
    scheduler.add(young)
    for _ in range(4):
        step(scheduler)
    assert list(scheduler.running) == [old]
    assert list(scheduler.waiting) == [young]
    scheduler.remove(old)
    gained = len(young.tokens)
    step(scheduler)
    assert len(young.tokens) == gained + 1
    scheduler.remove(young)
    assert kv.used_tokens == 0


def test_more_sequences_than_the_cache_holds_all_finish() -> None:
    scheduler, kv = make(kv_tokens=128, max_running=8, step_tokens=64)
    crowd = [sequence(20, first=100 * index) for index in range(12)]
    for one in crowd:
        scheduler.add(one)
    finished = 0
    for _ in range(3000):
        for one in step(scheduler):
            if len(one.tokens) >= 100:
                scheduler.remove(one)
                finished += 1
    assert finished == 12
    assert not scheduler.has_work
    assert kv.used_tokens == 0


def test_removing_is_safe_wherever_the_sequence_is() -> None:
    scheduler, kv = make()
    running, waiting, unknown = sequence(8), sequence(8, first=100), sequence(8, first=200)
    scheduler.add(running)
    step(scheduler)
    scheduler.add(waiting)
    for one in (running, waiting, unknown, running):
        scheduler.remove(one)
    assert not scheduler.has_work
    assert kv.used_tokens == 0


def test_a_better_rank_begins_before_a_longer_wait() -> None:
    scheduler, _ = make(max_running=2, step_tokens=64)
    running, later, urgent, last = (sequence(40, first, rank=r) for first, r in ((0, 1), (100, 1), (200, 0), (300, 1)))
    scheduler.add(running)
    step(scheduler)
    for waiting in (later, urgent, last):
        scheduler.add(waiting)
    step(scheduler)
    assert list(scheduler.running) == [running, urgent]
    assert list(scheduler.waiting) == [later, last]


def test_the_worst_rank_is_preempted_when_the_cache_is_full() -> None:
    scheduler, _ = make(kv_tokens=64, step_tokens=256)
    low, high = sequence(30, 0, rank=3), sequence(30, 100, rank=0)
    scheduler.add(low)
    step(scheduler)
    scheduler.add(high)
    while low in scheduler.running:
        step(scheduler)
    assert list(scheduler.running) == [high]
    assert list(scheduler.waiting) == [low]
