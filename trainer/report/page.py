"""The report of a run as one HTML page: no script, nothing from elsewhere, and every text is escaped."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2733}"
    "table{border-collapse:collapse;margin:.5rem 0}th,td{border-bottom:1px solid #d5dde5;padding:.25rem .75rem;"
    "text-align:left}td.n{text-align:right;font-variant-numeric:tabular-nums}img{max-width:100%}"
    "pre{background:#f3f6f9;padding:1rem;overflow:auto;white-space:pre-wrap}.refuse{color:#a3161f}.canary{color:#8a5a00}"
    ".publish{color:#146c2e}"
)
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def page(document: Mapping[str, Any], plots: Iterable[tuple[str, bytes]]) -> str:
    """The page.

    Args:
        document: The report.
        plots: Title and PNG of each picture.
    """
    title = f"{document['name'] or 'a run'}: {document['method']}"
    decision = document["decision"]
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p>{_text(document['source'])}</p>",
        f"<p>Base: <code>{_text(document['base'] or 'none')}</code></p>",
        f"<h2>Decision: <span class='{_text(decision['way'])}'>{_text(decision['way'])}</span></h2>",
        _list(decision["reasons"]),
        "<h2>Loss on held-out data</h2>",
        _table(("", "nats a token"), [(key, value) for key, value in document["held_out_loss"].items()]),
        _table(("figure", "value"), list(document["figures"].items())) if document["figures"] else "",
        *_evaluation(document["evaluation"]),
        *(
            f"<h2>{_text(name)}</h2><img alt='{_text(name)} by step' src='data:image/png;base64,{_base64(content)}'>"
            for name, content in plots
        ),
        "<h2>Examples</h2>",
        _table(("", "examples"), list(document["examples"].items())),
        *_data(document["data"]),
        "<h2>Recipe</h2>",
        f"<pre>{_text(json.dumps(document['recipe'], indent=2, ensure_ascii=False))}</pre>",
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" '
        f'content="{POLICY}"><title>{_text(title)}</title><style>{_STYLE}</style></head><body>'
        + "\n".join(part for part in parts if part)
        + "</body></html>\n"
    )


def _evaluation(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    rows = [
        (name, figure["value"], *(_value(found[other], name) for other in ("base", "live")), figure["documents"] or "-")
        for name, figure in found["result"].items()
    ]
    live = found["live_version"]
    return [
        "<h2>Evaluation</h2>",
        _table(("metric", "result", "base", "live", "documents"), rows),
        f"<p>Live: <code>{_text(live)}</code></p>" if live else "<p>No other version was live.</p>",
    ]


def _value(figures: Mapping[str, Any] | None, name: str) -> float | str:
    return figures[name]["value"] if figures and name in figures else "-"


def _data(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    rows = [("samples", found["samples"])]
    rows += [(f"dropped: {reason}", count) for reason, count in found["dropped"].items()]
    rows += [(f"converted: {reason}", count) for reason, count in found["converted"].items()]
    return ["<h2>Data</h2>", _table(("", "samples"), rows)]


def _list(sentences: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{_text(sentence)}</li>" for sentence in sentences) + "</ul>" if sentences else ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    head = "".join(f"<th>{_text(column)}</th>" for column in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"<td class='n'>{value:.4g}</td>"
    shown = "-" if value is None else value
    return f"<td class='n'>{shown}</td>" if isinstance(shown, int) else f"<td>{_text(shown)}</td>"


def _text(value: Any) -> str:
    return escape(str(value), quote=True)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
