"""The outcomes as text and as JSON."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.conformance.check import Check, Outcome

Outcomes = Mapping[str, Outcome]


def as_text(checks: Sequence[Check], columns: Mapping[str, Outcomes]) -> str:
    """Returns a table of check and target, and below it what failed. columns: the outcomes of each target."""
    names = [check.name for check in checks]
    first = max(map(len, names))
    widths = {
        target: max(len(target), *(len(outcomes[name].verdict) for name in names))
        for target, outcomes in columns.items()
    }
    head = "  ".join(["check".ljust(first), *(target.ljust(width) for target, width in widths.items())])
    rows = [
        "  ".join(
            [name.ljust(first), *(columns[target][name].verdict.ljust(width) for target, width in widths.items())]
        )
        for name in names
    ]
    details = [
        f"{target}, {name} {outcome.verdict}: {outcome.detail}"
        for target, outcomes in columns.items()
        for name, outcome in outcomes.items()
        if outcome.verdict in ("failed", "refused")
    ]
    return "\n".join([head, *rows, "", *details, *(f"{target}: {_counts(found)}" for target, found in columns.items())])


def as_document(checks: Sequence[Check], columns: Mapping[str, Outcomes]) -> dict[str, Any]:
    """Returns the same as a document for JSON."""
    return {
        "checks": {check.name: check.says for check in checks},
        "targets": {
            target: {name: {"verdict": each.verdict, "detail": each.detail} for name, each in outcomes.items()}
            for target, outcomes in columns.items()
        },
    }


def _counts(outcomes: Outcomes) -> str:
    verdicts = [outcome.verdict for outcome in outcomes.values()]
    return ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
