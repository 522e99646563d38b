"""The evaluation of a model as a table and as a document."""

from typing import TYPE_CHECKING, Any

from services.cli.views.output import out, print_table

if TYPE_CHECKING:
    from trainer.evaluation.evaluated import Evaluated
    from trainer.evaluation.figures import Figures

_COLUMNS = ("metric", "value", "base", "live", "documents")


def print_evaluation(evaluated: "Evaluated") -> None:
    """Prints a row for each figure, and the decision with its reasons."""
    rows = []
    for name, figure in evaluated.result.items():
        compared = (_value(evaluated.parent, name), _value(evaluated.live, name))
        rows.append((name, f"{figure.value:.4g}", *compared, figure.documents or "-"))
    print_table(_COLUMNS, rows)
    for reason in evaluated.decision.reasons:
        out().print(reason, markup=False)
    out().print(f"decision: {evaluated.decision.way}")


def evaluation_document(evaluated: "Evaluated") -> dict[str, Any]:
    """The same as JSON."""
    return {
        "decision": evaluated.decision.way,
        "reasons": list(evaluated.decision.reasons),
        "result": _document(evaluated.result),
        "base": _document(evaluated.parent),
        "live": _document(evaluated.live),
        "live_version": evaluated.live_version,
    }


def _value(figures: "Figures | None", name: str) -> str:
    found = (figures or {}).get(name)
    return f"{found.value:.4g}" if found else "-"


def _document(figures: "Figures | None") -> dict[str, Any] | None:
    return None if figures is None else {name: figure.model_dump() for name, figure in figures.items()}
