"""What becomes of an evaluated result: publish, canary or refuse. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from trainer.evaluation.figures import Figure
from trainer.evaluation_plan import Threshold

Way = Literal["publish", "canary", "refuse"]
_SEVERITY: tuple[Way, ...] = ("publish", "canary", "refuse")


@dataclass(frozen=True, slots=True)
class Decision:
    """way: the hardest that a threshold asks for. reasons: a sentence for each bound not kept, or not judged."""

    way: Way
    reasons: tuple[str, ...] = ()


def decide(
    thresholds: Sequence[Threshold],
    result: Mapping[str, Figure],
    parent: Mapping[str, Figure] | None,
    live: Mapping[str, Figure] | None,
) -> Decision:
    """Holds figures against thresholds.

    Args:
        thresholds: The recipe's.
        result: What the result reached.
        parent: What its base reached; None: there is none to compare with.
        live: What the version that is served reached; None: there is none.
    """
    way: Way = "publish"
    reasons: list[str] = []
    for threshold in thresholds:
        broken = list(_broken(threshold, result, parent, live))
        reasons += [f"{sentence} ({threshold.otherwise})" for sentence in broken]
        if broken:
            way = max(way, threshold.otherwise, key=_SEVERITY.index)
        reasons += _not_judged(threshold, parent, live)
    return Decision(way, tuple(reasons))


def _broken(
    threshold: Threshold,
    result: Mapping[str, Figure],
    parent: Mapping[str, Figure] | None,
    live: Mapping[str, Figure] | None,
) -> Iterator[str]:
    name, own = threshold.metric, result.get(threshold.metric)
    if own is None:
        yield f"{name} was not measured"
        return
    if threshold.min is not None and own.value < threshold.min:
        yield f"{name} is {own.value:.4g}, and min = {threshold.min:g}"
    if threshold.max is not None and own.value > threshold.max:
        yield f"{name} is {own.value:.4g}, and max = {threshold.max:g}"
    compared = (
        ("worse_than_parent", threshold.worse_than_parent, "its base", parent),
        ("worse_than_live", threshold.worse_than_live, "the live version", live),
    )
    for key, bound, whose, others in compared:
        if bound is None or others is None:
            continue
        other = others.get(name)
        if other is None:
            yield f"{name} of {whose} was not measured"
        elif own.worse_by(other) > bound:
            yield f"{name} is {own.value:.4g}, that of {whose} is {other.value:.4g}, and {key} = {bound:g}"


def _not_judged(
    threshold: Threshold, parent: Mapping[str, Figure] | None, live: Mapping[str, Figure] | None
) -> Iterator[str]:
    if threshold.worse_than_parent is not None and parent is None:
        yield f"{threshold.metric}: worse_than_parent is not judged, since there is no base to compare with"
    if threshold.worse_than_live is not None and live is None:
        yield f"{threshold.metric}: worse_than_live is not judged, since no other version is live"
