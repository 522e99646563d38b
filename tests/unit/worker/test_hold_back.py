"""What is held back is due in time, in order, and whole."""

import pytest

from services.worker.engine.contract import Delta, ToolCallDelta
from services.worker.hold_back import HoldBack
from tests.support.clock import ManualClock

CALL = ToolCallDelta(0, "call-1", "tide", "{}")


def delta(number: int, *, choice: int = 0, text: str = "") -> Delta:
    return Delta(choice, text or f"{number} ", (number,), text_from=number, text_end=number + 1)


def passed(hold_back: HoldBack, *deltas: Delta) -> list[Delta]:
    """What goes on to the gateway when these deltas come."""
    return [out for each in deltas if not hold_back.keeps(each) for out in hold_back.release(each)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def hold_back(clock: ManualClock) -> HoldBack:
    return HoldBack(4, 0.5, clock)


def test_the_first_delta_of_each_choice_goes_at_once(hold_back: HoldBack) -> None:
    first, second = delta(0), delta(0, choice=1)
    assert passed(hold_back, first, delta(1), second) == [first, second]


def test_so_many_tokens_go_in_one_delta(hold_back: HoldBack) -> None:
    first, *rest = [delta(number) for number in range(5)]
    joined = Delta(0, "1 2 3 4 ", (1, 2, 3, 4), text_from=1, text_end=5)
    assert passed(hold_back, first, *rest) == [first, joined]
    assert hold_back.release_all() == []


def test_the_last_delta_of_a_choice_takes_along_what_is_held(hold_back: HoldBack) -> None:
    last = Delta(0, "", (2,), finish_reason="stop", stop_reason=7, text_from=2, text_end=2)
    out = passed(hold_back, delta(0), delta(1), last)
    assert out[1:] == [Delta(0, "1 ", (1, 2), finish_reason="stop", stop_reason=7, text_from=1, text_end=2)]


async def test_what_was_held_too_long_goes_with_the_next_delta(clock: ManualClock, hold_back: HoldBack) -> None:
    assert len(passed(hold_back, delta(0), delta(1))) == 1
    await clock.advance(0.5)
    assert [out.token_ids for out in passed(hold_back, delta(2))] == [(1, 2)]


def test_a_call_is_not_mixed_with_text(hold_back: HoldBack) -> None:
    call = Delta(0, token_ids=(2,), tool_calls=(CALL,))
    assert passed(hold_back, delta(0), delta(1), call)[1:] == [delta(1), call]


def test_reasoning_does_not_get_before_text_that_came_earlier(hold_back: HoldBack) -> None:
    thought = Delta(0, reasoning="hm", token_ids=(2,))
    assert passed(hold_back, delta(0), delta(1), thought)[1:] == [delta(1), thought]


def test_choices_wait_for_themselves(hold_back: HoldBack) -> None:
    passed(hold_back, delta(0), delta(0, choice=1), delta(1), delta(1, choice=1))
    assert hold_back.release_all() == [delta(1), delta(1, choice=1)]


def test_a_large_delta_is_not_held(hold_back: HoldBack) -> None:
    large = Delta(0, "large", (1, 2, 3, 4, 5))
    assert passed(hold_back, delta(0), large)[1:] == [large]
    assert hold_back.tokens_with(large) == 5
