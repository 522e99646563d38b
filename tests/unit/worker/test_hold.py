"""Before weights change the engine is emptied: nobody waits longer than the hold, and no long answer stops it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from services.shared.swap_mode import SwapMode
from services.worker.hold import Bounds, Hold, UpdateRefused
from services.worker.status import Identity, State, Status
from tests.support.clock import ManualClock

FINISH_S, HOLD_S = 60.0, 2.0
# A hold begins and ends with some moments more than its bound.
SLACK_S = 0.5


@dataclass
class Requests:
    """Requests that run, each with its end: `movable` and `fixed` ones."""

    clock: ManualClock
    status: Status
    fixed_since: list[float] = field(default_factory=list)
    moved: list[SwapMode] = field(default_factory=list)

    def begin(self, *, fixed: bool) -> Callable[[], None]:
        """Begins a request; returns what ends it."""
        began = self.clock.monotonic()
        self.status.request_began()
        if fixed:
            self.fixed_since.append(began)

        def end() -> None:
            self.status.request_ended()
            if fixed:
                self.fixed_since.remove(began)

        return end

    def fixed(self, older_than_s: float = 0.0) -> int:
        return sum(self.clock.monotonic() - began >= older_than_s for began in self.fixed_since)

    def move(self, mode: SwapMode) -> None:
        self.moved.append(mode)
        self.fixed_since.clear()
        while self.status.requests:
            self.status.request_ended()


class Bench:
    def __init__(self, mode: SwapMode) -> None:
        self.clock, self.status = ManualClock(0.0), Status(Identity("w", 1, "tide", 1, 8))
        self.status.enter(State.READY)
        self.requests = Requests(self.clock, self.status)
        self.held_at: list[float] = []
        bounds = Bounds(mode, FINISH_S, HOLD_S)
        note = self.held_at.append
        self.hold = Hold(self.status, self.requests, lambda: note(self.clock.monotonic()), bounds, self.clock)
        self.emptying: asyncio.Task[None] | None = None

    async def advance(self, seconds: float) -> None:
        """In small steps: what waits looks again and again."""
        if self.emptying is None:
            self.emptying = asyncio.create_task(self.hold.empty())
            await asyncio.sleep(0)
        await self.clock.advance(seconds)

    @property
    def is_empty(self) -> bool:
        return self.emptying is not None and self.emptying.done() and self.emptying.exception() is None

    async def reason(self) -> str:
        assert self.emptying is not None
        with pytest.raises(UpdateRefused) as refused:
            await self.emptying
        return str(refused.value)


@pytest.mark.parametrize("mode", SwapMode)
async def test_an_idle_worker_is_empty_at_once(mode: SwapMode) -> None:
    bench = Bench(mode)
    await bench.advance(SLACK_S)
    assert (bench.is_empty, bench.requests.moved, bench.status.admits) == (True, [], False)
    assert bench.status.sealed is mode


@pytest.mark.parametrize(
    ("mode", "within_s"),
    [(SwapMode.FINISH, HOLD_S), (SwapMode.HAND_OVER, HOLD_S), (SwapMode.RECOMPUTE, 0.0)],
)
async def test_a_long_answer_goes_on_elsewhere_after_the_hold(mode: SwapMode, within_s: float) -> None:
    bench = Bench(mode)
    bench.requests.begin(fixed=False)
    await bench.advance(within_s + SLACK_S)
    assert (bench.is_empty, bench.requests.moved) == (True, [mode])


async def test_a_short_answer_finishes_in_the_hold() -> None:
    bench = Bench(SwapMode.FINISH)
    end = bench.requests.begin(fixed=False)
    await bench.advance(1.0)
    assert (bench.is_empty, bench.status.admits) == (False, True), "what was granted before may still start"
    end()
    await bench.advance(SLACK_S)
    assert (bench.is_empty, bench.requests.moved) == (True, [])


async def test_an_answer_that_nobody_can_continue_ends_the_update_before_anybody_is_held() -> None:
    bench = Bench(SwapMode.FINISH)
    bench.requests.begin(fixed=True)
    await bench.clock.advance(HOLD_S)
    await bench.advance(FINISH_S + SLACK_S)
    assert await bench.reason() == "1 requests that no other worker can continue did not finish within 60 s"
    assert (bench.held_at, bench.status.state) == ([], State.READY)


@pytest.mark.parametrize("mode", [SwapMode.RECOMPUTE, SwapMode.HAND_OVER])
async def test_in_the_other_modes_it_ends_then_and_nobody_is_held_meanwhile(mode: SwapMode) -> None:
    bench = Bench(mode)
    bench.requests.begin(fixed=True)
    await bench.clock.advance(HOLD_S)
    await bench.advance(FINISH_S - SLACK_S)
    assert (bench.held_at, bench.status.state) == ([], State.READY)
    await bench.advance(HOLD_S + 2 * SLACK_S)
    assert (bench.is_empty, bench.requests.moved) == (True, [mode])


@pytest.mark.parametrize("mode", SwapMode)
async def test_the_hold_begins_when_it_has_finished(mode: SwapMode) -> None:
    bench = Bench(mode)
    end = bench.requests.begin(fixed=True)
    await bench.clock.advance(HOLD_S)
    await bench.advance(20.0)
    assert (bench.held_at, bench.is_empty) == ([], False)
    end()
    await bench.advance(SLACK_S)
    assert (bench.is_empty, bench.requests.moved) == (True, [])


@pytest.mark.parametrize("mode", SwapMode)
async def test_a_young_one_may_finish_in_the_hold_and_a_hold_in_vain_is_short(mode: SwapMode) -> None:
    """Nobody knows how long it will be. The next hold waits for its end."""
    bench = Bench(mode)
    end = bench.requests.begin(fixed=True)
    await bench.advance(HOLD_S + SLACK_S)
    assert (len(bench.held_at), bench.status.state, bench.requests.moved) == (1, State.READY, [])
    await bench.advance(10.0)
    assert len(bench.held_at) == 1
    end()
    await bench.advance(SLACK_S)
    assert (bench.is_empty, len(bench.held_at), bench.requests.moved) == (True, 2, [])


@pytest.mark.parametrize("mode", SwapMode)
async def test_a_worker_told_to_drain_gives_the_update_up(mode: SwapMode) -> None:
    bench = Bench(mode)
    bench.requests.begin(fixed=True)
    await bench.advance(1.0)
    bench.status.enter(State.DRAINING)
    await bench.advance(SLACK_S)
    assert await bench.reason() == "this worker is draining"
    assert bench.requests.moved == []
