"""One choice: its end, and going on where another attempt stopped."""

import pytest

from services.worker.engine.contract import Delta, ResumePoint, Sampling
from services.worker.engine.simulated.choice import SimulatedChoice
from services.worker.engine.simulated.tokens import Oracle, decode


def answer(limit: int = 40, **sampling: object) -> SimulatedChoice:
    return SimulatedChoice(Oracle("a" * 64, (1, 2), Sampling(**sampling), 0), limit)  # type: ignore[arg-type]


def whole(of: SimulatedChoice) -> list[Delta]:
    deltas = [of.next()]
    while deltas[-1].finish_reason is None:
        deltas.append(of.next())
    return deltas


def text(deltas: list[Delta]) -> str:
    return "".join(delta.text for delta in deltas)


def test_it_ends_at_its_limit() -> None:
    deltas = whole(answer(limit=7, ignore_eos=True))
    assert (len(deltas), deltas[-1].finish_reason) == (7, "length")


def test_a_stop_string_is_cut_off_and_named() -> None:
    plain = text(whole(answer(ignore_eos=True)))
    stop = plain.split()[4]
    stopped = whole(answer(ignore_eos=True, stop=(stop,)))
    assert text(stopped) == plain[: plain.index(stop)]
    assert (stopped[-1].finish_reason, stopped[-1].stop_reason) == ("stop", stop)


def test_a_stop_token_ends_it() -> None:
    third = whole(answer(ignore_eos=True))[2].token_ids[0]
    stopped = whole(answer(ignore_eos=True, stop_token_ids=(third,)))
    assert (len(stopped), stopped[-1].stop_reason) == (3, third)


@pytest.mark.parametrize("cut", range(12))
@pytest.mark.parametrize("lag", [0, 3])
def test_resumed_at_any_token_it_is_the_same_answer(cut: int, lag: int) -> None:
    """Also when the client's text lags behind its tokens, held back for a stop string."""
    stop = (text(whole(answer(ignore_eos=True))).split()[9],)
    unbroken = whole(answer(ignore_eos=True, stop=stop))
    tokens = [token for delta in unbroken for token in delta.token_ids]
    cut = min(cut, len(tokens) - 1)
    have = text(unbroken[:cut])[: max(0, len(text(unbroken[:cut])) - lag)]

    resumed = answer(ignore_eos=True, stop=stop)
    assert resumed.resume(ResumePoint(tuple(tokens[:cut]), len(have))) is None
    rest = whole(resumed)
    assert have + text(rest) == text(unbroken)
    assert [t for delta in rest for t in delta.token_ids] == tokens[cut:]


def test_resumed_after_its_last_token_it_only_ends() -> None:
    unbroken = whole(answer(limit=5, ignore_eos=True))
    tokens = tuple(token for delta in unbroken for token in delta.token_ids)
    ending = answer(limit=5, ignore_eos=True).resume(ResumePoint(tokens, 4))
    assert ending == Delta(0, decode(tokens)[4:], finish_reason="length", text_from=4, text_end=25)
