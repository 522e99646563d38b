"""Tests that may be repeated after every request: to look often raises no more false alarms.

Each function returns the logarithm of an e-value: how many times likelier the data are if the new version is worse than
if it is not. While it is not worse, an e-value above 1 / a comes with probability a at most, however often somebody
looks (Ville's inequality).

- `log_e_of_ranks`: Mann and Whitney's statistic, stratified as by van Elteren, in the mixture sequential probability
  ratio test of Robbins (1970) and Johari, Pekelis and Walsh, "Always valid inference" (2015, arXiv:1512.04922). Its
  distribution is the normal one for large samples, so callers ask for a fewest number.
- `log_e_of_failures`: given how many fail in a window, those of the new version are a binomial part of them; a mixture
  over odds ratios, as in Ramdas et al., "Game-theoretic statistics and safe anytime-valid inference" (2023,
  arXiv:2210.01948). It has no lower bound on samples.
"""

import math
from collections.abc import Iterable, Sequence

from services.router.core.figures import Histogram

EFFECT = 0.25
"""Expected size of an effect, as the probability that a request of the new version is slower, above one half."""
ODDS = (2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1e6)
MOST_FAILURES = 4.0
"""Failures of one window that count: those of one moment have one cause, such as a worker that was lost."""

Window = tuple[int, int, int, int]
"""Requests and failures of the old version, then of the new one."""


def log_e_of_ranks(strata: Iterable[tuple[Histogram, Histogram]], shift: int) -> float:
    """Whether values of the new version are larger than those of the old one by more than `shift` buckets.

    Args:
        strata: Histograms of the old and of the new version.
        shift: Buckets by which the new version may be larger.
    """
    moved = weights = variance = 0.0
    for old, new in strata:
        n, m = old.total(), new.total()
        if n and m:
            above, spread = _above(old, new, shift)
            weight = n * m / (n + m + 1)
            moved += weight * (above - 0.5)
            variance += weight * weight * spread
            weights += weight
    if not weights or moved <= 0:
        return 0.0
    effect, variance, prior = moved / weights, variance / weights**2, EFFECT**2
    return 0.5 * math.log(variance / (variance + prior)) + effect**2 * prior / (2 * variance * (variance + prior))


def _above(old: Histogram, new: Histogram, shift: int) -> tuple[float, float]:
    """The probability that a value of the new version is above a shifted one of the old version, and its variance.

    The variance is the larger one of two: that of equal distributions, and the one that the data show (Brunner and
    Munzel, 2000).
    """
    n, m = old.total(), new.total()
    moved = {bucket + shift: count for bucket, count in old.items()}
    old_below = new_below = total = old_squares = new_squares = 0.0
    for bucket in sorted({*moved, *new}):
        here_old, here_new = moved.get(bucket, 0), new.get(bucket, 0)
        rank = (old_below + here_old / 2) / n
        total += here_new * rank
        new_squares += here_new * rank**2
        rank = (m - new_below - here_new / 2) / m
        old_squares += here_old * rank**2
        old_below += here_old
        new_below += here_new
    above = total / m
    equal = (n + m + 1) / (12 * n * m)
    seen = (new_squares / m - above**2) / m + (old_squares / n - above**2) / n
    return above, max(equal, seen)


def log_e_of_failures(windows: Sequence[Window]) -> float:
    """Whether requests of the new version fail more often than those of the old one in the same windows."""
    terms = []
    for odds in ODDS:
        log_ratio = 0.0
        for old, old_failed, new, new_failed in windows:
            failed = old_failed + new_failed
            if not failed or not new or not old:
                continue
            share = new / (old + new)
            worse = odds * share / (odds * share + 1 - share)
            part = new_failed * math.log(worse / share) + old_failed * math.log((1 - worse) / (1 - share))
            log_ratio += part * min(1.0, MOST_FAILURES / failed)
        terms.append(log_ratio)
    top = max(terms)
    return top + math.log(sum(math.exp(term - top) for term in terms) / len(terms))
