"""The policies of a rollout, on pretended workers: how many change, when it holds, and what requests start on."""

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.router.core.gate import Decision, Verdict
from services.router.core.rollout import pause, resume, stop
from services.router.core.rollout_history import Event, EventKind, event_of
from services.router.core.rollout_policy import Kind, Policy, Step, half
from services.router.core.rollout_record import Outcome, RolloutRecord, State
from services.shared.rollout_settings import CanaryStep, RolloutSettings
from tests.unit.router.core.rollout_pool import NEW, OLD, TICK_MS, PretendedPool

HOLD_MS = 10 * TICK_MS
CANARY = Policy(Kind.CANARY, steps=(Step(1, hold_ms=HOLD_MS), Step(share=0.5, hold_ms=HOLD_MS)), max_wait_ms=5_000)
ALL_AT_ONCE = Policy(Kind.ALL_AT_ONCE)
WAIT, PASS, FAIL = (Verdict(decision, "as it is") for decision in (Decision.WAIT, Decision.PASS, Decision.FAIL))


def changed(pool: PretendedPool) -> int:
    return sum(member.version == NEW for member in pool.members.values())


def until(pool: PretendedPool, condition: Callable[[], object], verdict: Verdict | None = None) -> None:
    """Every worker does at once what it is asked for."""
    for _ in range(200):
        if condition():
            return
        pool.settle(1, verdict)
    raise AssertionError(pool.record)


@pytest.mark.parametrize(("at_once", "most"), [(0, 1), (1, 1), (3, 3), (9, 5)])
def test_so_many_change_at_the_same_time(at_once: int, most: int) -> None:
    pool, seen = PretendedPool.of_size(5, Policy(at_once=at_once)), set()
    while not pool.record.state.has_ended:
        pool.settle(1)
        seen.add(sum(member.state == "swapping" for member in pool.members.values()))
    assert max(seen) == most
    assert (pool.record.state, changed(pool)) == (State.DONE, 5)


def test_a_canary_holds_at_each_step_and_then_takes_the_whole_pool() -> None:
    pool, held = PretendedPool.of_size(6, CANARY), []
    while not pool.record.state.has_ended:
        pool.settle(1)
        held.append(changed(pool))
    lengths = {size: len(list(ticks)) for size, ticks in groupby(held)}
    assert lengths[1] > HOLD_MS / TICK_MS
    assert lengths[3] > HOLD_MS / TICK_MS
    assert all(lengths[size] < HOLD_MS / TICK_MS for size in (2, 4, 5))
    assert pool.record.state is State.DONE


@pytest.mark.parametrize(
    ("size", "holds"), [(1, [1]), (2, [1]), (3, [1, 2]), (4, [1, 2, 3]), (8, [1, 2, 4, 7]), (100, [1, 25, 50, 99])]
)
def test_the_default_steps_fit_the_size_of_the_pool(size: int, holds: list[int]) -> None:
    policy = Policy.of_settings(RolloutSettings(policy="canary"))
    steps, step = [], 0
    while step < len(policy.steps):
        steps.append(policy.limit(step, size))
        step = policy.after(step, size)
    assert steps == holds


@pytest.mark.parametrize("size", [2, 3, 4096])
def test_an_observation_leaves_one_worker_of_the_old_version(size: int) -> None:
    policy = Policy.of_settings(RolloutSettings(observe_s=9))
    assert (policy.kind, policy.limit(0, size), policy.hold_ms(0, size)) == (Kind.ROLLING, size - 1, 9_000)
    assert Step.of_text(policy.steps[0].text()) == policy.steps[0]


def test_there_is_no_observation_where_nobody_would_be_left_to_compare_with() -> None:
    observing = RolloutSettings(observe_s=9)
    assert Policy.of_settings(observing).hold_ms(0, 1) == 0
    assert Policy.of_settings(observing, Kind.ALL_AT_ONCE).steps == ()
    assert Policy.of_settings(RolloutSettings()).steps == ()
    steps = (CanaryStep(replicas=1),)
    assert len(Policy.of_settings(RolloutSettings(policy="canary", steps=steps)).steps) == 1
    with pytest.raises(ValueError, match="observe_s = 9 and policy = all_at_once"):
        RolloutSettings(policy="all_at_once", observe_s=9)


def test_steps_that_are_one_in_a_small_pool_hold_for_the_longest_of_their_times() -> None:
    policy = Policy(Kind.CANARY, steps=(Step(1, hold_ms=10), Step(share=0.5, hold_ms=20))).observing(30)
    assert [policy.hold_ms(0, size) for size in (1, 2, 3, 8)] == [20, 30, 20, 10]
    assert [policy.hold_ms(1, size) for size in (3, 8)] == [20, 20]


def test_a_version_that_fails_while_it_is_observed_goes_back() -> None:
    pool = PretendedPool.of_size(4, Policy().observing(HOLD_MS))
    until(pool, lambda: pool.record.step_since_ms, WAIT)
    assert changed(pool) == 3
    pool.tick(FAIL)
    until(pool, lambda: pool.record.state.has_ended)
    assert (pool.record.state, changed(pool)) == (State.FAILED, 0)


def test_an_observation_ends_and_the_last_worker_follows() -> None:
    pool, held = PretendedPool.of_size(4, Policy().observing(HOLD_MS)), []
    while not pool.record.state.has_ended:
        pool.settle(1, PASS)
        held.append(changed(pool))
    assert held.count(3) > HOLD_MS / TICK_MS > held.count(2)
    assert (pool.record.state, changed(pool)) == (State.DONE, 4)


def test_a_pool_without_requests_goes_on_after_the_hold() -> None:
    pool, idle = PretendedPool.of_size(4, CANARY), replace(WAIT, idle=True)
    until(pool, lambda: pool.record.step_since_ms, idle)
    began_ms = pool.now_ms
    until(pool, lambda: pool.record.step == 1, idle)
    assert pool.now_ms - began_ms >= HOLD_MS
    until(pool, lambda: pool.record.state.has_ended, idle)
    assert pool.record.state is State.DONE


def test_a_pool_of_one_worker_goes_on_after_the_hold_because_nothing_is_left_to_compare_with() -> None:
    pool = PretendedPool.of_size(1, CANARY)
    until(pool, lambda: pool.record.state.has_ended, WAIT)
    assert pool.record.state is State.DONE


def test_a_gate_that_says_no_sends_the_canary_back_and_no_request_starts_on_it() -> None:
    pool = PretendedPool.of_size(4, CANARY)
    until(pool, lambda: changed(pool) == 1, WAIT)
    pool.tick(FAIL)
    assert (pool.record.state, pool.record.reason, pool.record.admits) == (State.UNDOING, "as it is", OLD)
    before = len(pool.starts)
    until(pool, lambda: pool.record.state.has_ended)
    assert set(pool.starts[before:]) == {OLD}
    assert (pool.record.state, pool.record.admits, changed(pool)) == (State.FAILED, "", 0)


def test_a_rejected_version_serves_on_when_it_is_all_that_is_left() -> None:
    pool = PretendedPool.of_size(2, CANARY)
    until(pool, lambda: changed(pool) == 1)
    pool.lose("w1")
    pool.tick(FAIL)
    assert (pool.record.state, pool.record.admits) == (State.UNDOING, "")
    both = PretendedPool.of_size(2, CANARY)
    until(both, lambda: changed(both) == 1)
    both.tick(FAIL)
    both.lose("w1")
    both.members["w0"] = replace(both.members["w0"], state="ready", version=NEW)
    both.tick()
    assert both.record.admits == ""


def test_a_step_goes_on_when_its_gate_says_yes_and_not_before() -> None:
    pool = PretendedPool.of_size(4, CANARY)
    until(pool, lambda: pool.record.step_since_ms, WAIT)
    while pool.now_ms < pool.record.step_since_ms + HOLD_MS + 2 * TICK_MS:
        pool.tick(WAIT)
    assert (pool.record.step, changed(pool)) == (0, 1)
    pool.tick(PASS)
    assert pool.record.step == 1


def test_a_gate_that_never_decides_fails_the_rollout_and_an_early_yes_does_not_shorten_a_step() -> None:
    pool = PretendedPool.of_size(4, CANARY)
    until(pool, lambda: pool.record.step_since_ms, PASS)
    pool.tick(PASS)
    assert pool.record.step == 0
    until(pool, lambda: pool.record.state.has_ended, WAIT)
    assert pool.record.state is State.FAILED
    assert pool.record.reason == "the gate of step 1 said nothing within 5 s: as it is"
    assert changed(pool) == 0


def test_a_pause_lets_no_other_worker_begin_and_is_no_part_of_the_hold() -> None:
    pool = PretendedPool.of_size(4, CANARY)
    until(pool, lambda: pool.record.step_since_ms)
    pool.record = pause(pool.record, "ann: lunch", pool.now_ms)
    assert pause(pool.record, "bob", pool.now_ms) is pool.record
    for _ in range(100):
        pool.settle(1, WAIT)
    assert (pool.record.state, pool.record.step, changed(pool)) == (State.ROLLING, 0, 1)
    pool.record = resume(pool.record, pool.now_ms)
    assert resume(pool.record, pool.now_ms) is pool.record
    left_ms = pool.record.step_since_ms + HOLD_MS - pool.now_ms
    assert HOLD_MS - 2 * TICK_MS <= left_ms <= HOLD_MS
    until(pool, lambda: pool.record.state is State.DONE)


def test_what_is_changing_goes_on_in_a_pause_and_a_rejection_ends_it() -> None:
    pool = PretendedPool.of_size(3, Policy())
    pool.tick()
    pool.record = pause(pool.record, "ann", pool.now_ms)
    for _ in range(5):
        pool.settle(1)
    assert (changed(pool), pool.record.turns, pool.record.state) == (1, (), State.ROLLING)
    pool.tick(FAIL)
    assert (pool.record.state, pool.record.paused_ms) == (State.UNDOING, 0)
    assert pause(pool.record, "ann", 0) is pool.record


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_a_pool_changes_over_once_half_of_it_is_ready(size: int) -> None:
    pool, seen = PretendedPool.of_size(size, ALL_AT_ONCE), []
    while not pool.record.state.has_ended:
        pool.settle(1)
        starting = {m.version for m in pool.members.values() if m.state == "ready" and m.version == pool.record.admits}
        seen.append((pool.record.admits, bool(starting)))
    assert [version for version, _ in groupby(pool.starts)] == [OLD, NEW]
    # A pool of one waits for its only worker. No other pool is without a worker that takes requests.
    assert all(serves for _, serves in seen) == (size > 1)
    assert (pool.record.state, pool.record.admits) == (State.DONE, NEW)


def test_a_failure_after_the_change_over_changes_it_back() -> None:
    pool = PretendedPool.of_size(4, ALL_AT_ONCE)
    until(pool, lambda: pool.record.admits == NEW)
    pool.tick()
    pool.finish("w3", Outcome.FAILED)
    pool.tick()
    assert (pool.record.state, pool.record.admits) == (State.UNDOING, NEW)
    until(pool, lambda: pool.record.state.has_ended)
    assert [version for version, _ in groupby(pool.starts)] == [OLD, NEW, OLD]
    assert (pool.record.admits, changed(pool)) == (OLD, 0)


def test_a_pool_whose_old_workers_are_gone_does_not_stay_closed() -> None:
    pool = PretendedPool.of_size(4, ALL_AT_ONCE)
    pool.tick()
    pool.finish("w0")
    for worker_id in ("w1", "w2", "w3"):
        pool.lose(worker_id)
    until(pool, lambda: pool.record.state.has_ended)
    assert pool.record.admits in (OLD, NEW)
    assert {m.version for m in pool.members.values()} == {pool.record.admits}


DOINGS = (
    *("tick", "tick", "tick", "commit", "commit", "fail", "needs restart", "lose", "restart", "detach", "pause"),
    *("resume", "abort", "wait", "yes", "no", "the replica dies before it sends", "an old replica sends late"),
)


@settings(max_examples=150, deadline=None)
@given(
    size=st.integers(1, 6),
    policy=st.sampled_from([Policy(), Policy(at_once=2), CANARY, replace(CANARY, at_once=2), ALL_AT_ONCE]),
    doings=st.lists(st.tuples(st.sampled_from(DOINGS), st.integers(0, 5)), max_size=60),
)
def test_whatever_happens_a_rollout_keeps_its_bounds_and_ends(
    size: int, policy: Policy, doings: list[tuple[str, int]]
) -> None:
    pool = PretendedPool.of_size(size, policy)
    earlier = pool.record
    for what, which in doings:
        before = pool.record
        _do(pool, what, f"w{which}", earlier)
        _check_bounds(before, pool)
        earlier = before
    pool.record = resume(pool.record, pool.now_ms)
    pool.settle(600, PASS)
    assert pool.record.state.has_ended
    left = {m.version for m in pool.members.values() if m.process not in pool.record.stranded}
    assert left <= {pool.record.goal}
    if policy.kind is Kind.ALL_AT_ONCE:
        admitted = [version for version, _ in groupby(pool.starts)]
        assert admitted in ([], [OLD], [OLD, NEW], [OLD, NEW, OLD])


def _do(pool: PretendedPool, what: str, worker_id: str, earlier: RolloutRecord) -> None:
    """earlier: a record that a replica may still believe in."""
    match what:
        case "tick" | "wait" | "yes" | "no":
            pool.tick({"wait": WAIT, "yes": PASS, "no": FAIL}.get(what))
        case "the replica dies before it sends":
            pool.tick(is_sent=False)
        case "an old replica sends late":
            pool.send(earlier)
        case "pause":
            pool.record = pause(pool.record, "ann", pool.now_ms)
        case "resume":
            pool.record = resume(pool.record, pool.now_ms)
        case "abort" if pool.record.state is State.ROLLING:
            pool.record = stop(pool.record, "enough", pool.now_ms)
        case _:
            _do_to_worker(pool, what, worker_id)


def _do_to_worker(pool: PretendedPool, what: str, worker_id: str) -> None:
    member = pool.members.get(worker_id)
    match what:
        case "commit":
            pool.finish(worker_id)
        case "fail":
            pool.finish(worker_id, Outcome.FAILED)
        case "needs restart" if member and member.state == "swapping":
            pool.finish(worker_id, Outcome.NEEDS_RESTART)
        case "lose":
            pool.lose(worker_id)
        case "restart" if member is None or member.state == "draining":
            pool.restart(worker_id)
        case "detach" if member and member.state == "ready":
            pool.members[worker_id] = replace(member, state="detached")


def _check_bounds(before: RolloutRecord, pool: PretendedPool) -> None:
    record, members = pool.record, list(pool.members.values())
    assert record.revision >= before.revision
    assert RolloutRecord.of_hash(record.to_hash()) == record
    turns = {turn.process for turn in record.turns}
    begun = {t.process for t in record.turns if before.turn_of(t.process) is None and not t.replaced}
    loaded = [m for m in members if (m.version and m.state != "draining") or m.process in turns]
    if begun:
        assert len(turns) <= record.policy.parallel(len(loaded))
    # A worker that was changing already has a turn in any case, so that its time is limited.
    fresh = begun & {m.process for m in members if m.version != record.goal and m.process in pool.told}
    has_goal = {m.process for m in loaded if m.version == record.goal}
    limit = record.policy.limit(record.step, len(loaded)) if record.state is State.ROLLING else None
    if fresh and limit is not None:
        assert len(turns | has_goal) <= limit
    if fresh and record.policy.kind is Kind.ALL_AT_ONCE and record.admits != record.goal:
        assert len(turns | has_goal) <= half(len(loaded))


def test_the_history_has_what_people_look_for() -> None:
    pool, events = PretendedPool.of_size(4, CANARY), []
    before: RolloutRecord | None = None

    def note(who: str = "") -> bool:
        nonlocal before
        if event := event_of(before, pool.record, now_ms=pool.now_ms, who=who, why="so"):
            events.append(event)
        before = pool.record
        return False

    note()
    until(pool, lambda: note() or pool.record.step_since_ms)
    note()
    pool.record = pause(pool.record, "ann", pool.now_ms)
    note("ann")
    pool.record = resume(pool.record, pool.now_ms)
    note("ann")
    until(pool, lambda: note() or pool.record.step == 1)
    until(pool, lambda: note() or changed(pool) == 2)
    pool.record = stop(pool.record, "stopped by ann: so", pool.now_ms)
    note("ann")
    until(pool, lambda: note() or pool.record.state.has_ended)
    note()
    assert [(event.kind, event.step, event.who) for event in events] == [
        (EventKind.STARTED, 1, ""),
        (EventKind.STEP_REACHED, 1, ""),
        (EventKind.PAUSED, 1, "ann"),
        (EventKind.RESUMED, 1, "ann"),
        (EventKind.STEP_PASSED, 1, ""),
        (EventKind.UNDOING, 2, "ann"),
        (EventKind.FAILED, 2, ""),
    ]
    assert events[-2].why == events[-1].why == "stopped by ann: so"
    assert [Event.of_json(event.to_json().encode()) for event in events] == events
    later = orjson.dumps(orjson.loads(events[0].to_json()) | {"field of a later release": 1})
    assert Event.of_json(later) == events[0]
    assert len({event.revision for event in events}) == len(events)


def test_the_policy_of_a_pool_is_what_its_settings_say() -> None:
    given = RolloutSettings(policy="canary", at_once=2, steps=(CanaryStep(share=0.3, hold_s=5),), max_wait_s=7)
    policy = Policy.of_settings(given)
    assert policy == Policy(Kind.CANARY, 2, (Step(share=0.3, hold_ms=5_000),), 7_000)
    assert Policy.of_settings(given, Kind.ROLLING) == Policy(Kind.ROLLING, 2, (), 7_000)
    assert Policy.of_settings(RolloutSettings()) == Policy()
    assert [policy.limit(0, size) for size in (1, 3, 4, 10)] == [1, 1, 1, 3]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"steps": [{"replicas": 1}]}, "policy = rolling"),
        ({"policy": "canary", "steps": [{}]}, "replicas = None and share = None"),
        ({"policy": "canary", "steps": [{"replicas": 1, "share": 0.5}]}, "replicas = 1 and share = 0.5"),
        ({"policy": "canary", "steps": [{"share": 1.5}]}, "less than or equal to 1"),
        ({"policy": "slowly"}, "'rolling', 'canary' or 'all_at_once'"),
    ],
)
def test_wrong_settings_are_refused_with_what_is_wrong(wrong: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        RolloutSettings.model_validate(wrong)
