"""The gate's verdicts on streams of made requests; the streams are the same in every run."""

import math
from collections import Counter
from random import Random

import pytest

from services.router.core.figures import Answer, Figures, window_of
from services.router.core.gate import Decision, Verdict, compare, judge
from services.shared.gates import Gates

STREAMS = 20
LOOK_EVERY_S = 3
Side = dict[str, Figures]


class Stream:
    """Requests of a pool in which one worker of two or three serves the new version.

    Args:
        share: Part of the requests that the new version serves.
        slower: Factor on the times of the new version.
        failing: Part of its requests that fail through its fault; `failing_both`: of the requests to both.
        longer: Factor on the tokens of its answers.
        broken: Part of its requests with a schema whose answer is not whole. Every second request has a schema.
    """

    def __init__(
        self,
        seed: int,
        *,
        share: float = 0.5,
        slower: float = 1.0,
        failing: float = 0.0,
        failing_both: float = 0.0,
        longer: float = 1.0,
        broken: float = 0.0,
    ) -> None:
        self._random = Random(seed)
        self._share, self._slower, self._longer = share, slower, longer
        self._failing, self._failing_both, self._broken = failing, failing_both, broken
        self._counters: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    def _answer(self, new: bool) -> Answer:
        chance = self._random
        factor, failing = (self._slower, self._failing) if new else (1.0, 0.0)
        return Answer(
            "default",
            failed=chance.random() < failing + self._failing_both,
            ttft_s=0.05 * math.exp(chance.gauss(0, 0.4)) * factor,
            tpot_s=0.02 * math.exp(chance.gauss(0, 0.15)) * factor,
            tokens=chance.randint(20, 200) * (self._longer if new else 1),
            structured=(structured := chance.random() < 0.5),
            broken=structured and new and chance.random() < self._broken,
            load=chance.randint(8, 15),
            prefill=500,
        )

    def sides(self) -> tuple[Side, Side]:
        old, new = ({"default": Figures.of_hash(counter)} for counter in self._counters)
        return old, new

    def first_failure(self, *, per_s: float = 50, within_s: float = 30) -> tuple[float, Verdict]:
        """Looks every LOOK_EVERY_S seconds; the time and the verdict that failed, or the last one."""
        now = look = 0.0
        verdict = judge(*self.sides(), Gates())
        while now < within_s:
            now += self._random.expovariate(per_s)
            new = self._random.random() < self._share
            self._counters[new].update(self._answer(new).fields(window_of(now)))
            if now >= look + LOOK_EVERY_S:
                look += LOOK_EVERY_S
                verdict = judge(*self.sides(), Gates())
                if verdict.decision is Decision.FAIL:
                    break
        return now, verdict


def figure_of(verdict: Verdict) -> str:
    """The figure that is worse, or ""."""
    return verdict.worse.figure if verdict.worse else ""


def test_versions_that_are_alike_never_fail() -> None:
    """Of half of the streams both versions fail two requests in a hundred."""
    shares = [1 / 3, 1 / 2, 2 / 3]
    streams = [Stream(seed, share=shares[seed % 3], failing_both=seed % 2 * 0.02) for seed in range(STREAMS)]
    verdicts = [stream.first_failure()[1] for stream in streams]
    assert {verdict.decision for verdict in verdicts} == {Decision.PASS}


def test_a_version_that_is_slower_by_30_percent_is_found_within_30_seconds() -> None:
    for seed in range(STREAMS):
        at, verdict = Stream(seed, slower=1.3, share=1 / 3).first_failure()
        assert (verdict.decision, figure_of(verdict)) == (Decision.FAIL, "tpot"), verdict
        assert at <= 30
        assert "tpot of default: 2" in verdict.reason
        assert "bound: 15%" in verdict.reason


def test_a_version_that_fails_one_request_in_a_hundred_is_found_at_50_requests_a_second_to_it() -> None:
    """The other version gets as many. A failure more or less decides, so this holds for the most of the streams."""
    found = [Stream(seed, failing=0.01).first_failure(per_s=100) for seed in range(STREAMS)]
    named = [verdict for _, verdict in found if verdict.decision is Decision.FAIL]
    assert {figure_of(verdict) for verdict in named} == {"errors"}
    assert len(named) >= 0.9 * STREAMS
    assert "(old version: 0.00%, bound: 0.20%; " in named[0].reason


@pytest.mark.parametrize("longer", [3.0, 1 / 3])
def test_answers_of_another_length_are_found(longer: float) -> None:
    assert figure_of(Stream(1, longer=longer).first_failure()[1]) == "length"


def test_answers_that_break_their_schema_are_found() -> None:
    assert figure_of(Stream(1, broken=0.1).first_failure()[1]) == "structured"


def test_a_bound_that_is_off_does_not_judge_and_still_shows() -> None:
    stream = Stream(1, slower=1.3)
    assert figure_of(stream.first_failure()[1]) == "tpot"
    bounds = Gates(tpot=None, ttft=None)
    assert judge(*stream.sides(), bounds).decision is Decision.PASS
    tpot = next(row for row in compare(*stream.sides(), bounds) if row.figure == "tpot")
    assert tpot.change == pytest.approx(0.3, abs=0.06)


def test_few_requests_wait_and_say_how_many_are_needed() -> None:
    verdict = Stream(1).first_failure(within_s=2)[1]
    assert verdict.decision is Decision.WAIT
    assert verdict.reason.startswith("needs 100 requests to each version; new and old so far: ")
    assert judge({}, {}, Gates()).reason.endswith(": none")


def counted(answer: Answer, times: int, window: int) -> Counter[str]:
    return Counter(dict.fromkeys(answer.fields(window), times))


def test_one_moment_of_failures_is_no_rate() -> None:
    """As when a worker of the new version is lost with all that it ran."""
    fine, lost = Answer("default"), Answer("default", failed=True)
    old = {"default": Figures.of_hash(sum((counted(fine, 100, w) for w in range(4)), Counter()))}
    new_counts = sum((counted(fine, 100, w) for w in range(4)), Counter()) + counted(lost, 40, 2)
    assert judge(old, {"default": Figures.of_hash(new_counts)}, Gates()).decision is Decision.PASS
    new_counts += counted(lost, 4, 0) + counted(lost, 4, 3)
    assert figure_of(judge(old, {"default": Figures.of_hash(new_counts)}, Gates())) == "errors"


def test_a_slow_moment_of_one_worker_is_not_the_version() -> None:
    quick, slow = Answer("default", tpot_s=0.02, load=4), Answer("default", tpot_s=0.1, load=4)
    old = sum((counted(quick, 100, w) for w in range(6)), Counter())
    new = sum((counted(quick if w != 2 else slow, 100, w) for w in range(6)), Counter())
    assert judge({"d": Figures.of_hash(old)}, {"d": Figures.of_hash(new)}, Gates()).decision is Decision.PASS


def test_faults_of_both_versions_blame_neither_when_the_shares_change() -> None:
    """First a third of the requests go to the new version, then two thirds; only then the store fails for all."""
    old = counted(Answer("d"), 200, 0) + counted(Answer("d"), 90, 20) + counted(Answer("d", failed=True), 10, 20)
    new = counted(Answer("d"), 100, 0) + counted(Answer("d"), 180, 20) + counted(Answer("d", failed=True), 20, 20)
    for window in (21, 22, 23):
        old += counted(Answer("d"), 90, window) + counted(Answer("d", failed=True), 10, window)
        new += counted(Answer("d"), 180, window) + counted(Answer("d", failed=True), 20, window)
    assert judge({"d": Figures.of_hash(old)}, {"d": Figures.of_hash(new)}, Gates()).decision is Decision.PASS


def test_a_busier_worker_is_compared_with_busy_ones_only() -> None:
    """While another worker holds its requests, those of the new version run in larger batches, and so slower."""
    old = sum(
        (
            counted(Answer("d", tpot_s=0.02, load=4), 80, w) + counted(Answer("d", tpot_s=0.04, load=20), 40, w)
            for w in range(6)
        ),
        Counter(),
    )
    new = sum((counted(Answer("d", tpot_s=0.04, load=20), 100, w) for w in range(6)), Counter())
    assert judge({"d": Figures.of_hash(old)}, {"d": Figures.of_hash(new)}, Gates()).decision is Decision.PASS
