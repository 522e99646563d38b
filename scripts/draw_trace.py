"""Draws docs/images/trace.svg from docs/images/trace.json: a trace as the collector of tests/e2e/test_traces.py got it.

usage: python scripts/draw_trace.py [--check]

The picture depends on the file alone. --check writes nothing; it fails when the picture is not that of the file.
`RECORD_TRACE=docs/images/trace.json .venv/bin/python -m pytest tests/e2e/test_traces.py` records the file again.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "docs/images/trace.json"
PICTURE = ROOT / "docs/images/trace.svg"
NAMES_PX, BARS_PX, ROW_PX, TOP_PX = 250, 560, 22, 34
TICKS = 5
COLOURS = {"tidegate-gateway": "#4c78a8", "tidegate-router": "#72b7b2", "tidegate-worker": "#54a24b"}
FAILED, FAILOVER = "#e45756", "#f2a03d"


def draw(spans: Sequence[dict[str, Any]]) -> str:
    """Returns the picture as SVG."""
    total = max(span["end_ms"] for span in spans)
    width, height = NAMES_PX + BARS_PX + 90, TOP_PX + ROW_PX * len(spans) + 34
    parts = [_tick(total * number / TICKS, total, height) for number in range(TICKS + 1)]
    parts += [_row(number, span, total) for number, span in enumerate(spans)]
    colours = [*((name.removeprefix("tidegate-"), colour) for name, colour in COLOURS.items())]
    colours += [("failed", FAILED), ("failover", FAILOVER)]
    parts += [
        f'<rect x="{10 + 110 * number}" y="{height - 20}" width="12" height="12" rx="2" fill="{colour}"/>'
        f'<text x="{28 + 110 * number}" y="{height - 10}">{escape(name)}</text>'
        for number, (name, colour) in enumerate(colours)
    ]
    body = "\n".join(parts)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" \
aria-label="One trace: a request whose worker is killed, and that another worker ends.">
<style>text{{font:12px system-ui,sans-serif;fill:#24292f}}.grid{{stroke:#d0d7de}}
.time{{fill:#57606a;font-size:11px}}</style>
<rect width="{width}" height="{height}" fill="#ffffff"/>
{body}
</svg>
"""


def _x(ms: float, total: float) -> float:
    return NAMES_PX + BARS_PX * ms / total


def _tick(ms: float, total: float, height: int) -> str:
    x = _x(ms, total)
    return (
        f'<line x1="{x:.1f}" y1="{TOP_PX - 6}" x2="{x:.1f}" y2="{height - 28}" class="grid"/>'
        f'<text x="{x:.1f}" y="{TOP_PX - 12}" text-anchor="middle" class="time">{ms:.0f} ms</text>'
    )


def _row(number: int, span: dict[str, Any], total: float) -> str:
    y, start, end = TOP_PX + ROW_PX * number, _x(span["start_ms"], total), _x(span["end_ms"], total)
    colour = FAILED if span["error"] else FAILOVER if span["name"] == "failover" else COLOURS[span["service"]]
    took = f"{span['end_ms'] - span['start_ms']:.1f} ms"
    return (
        f'<text x="{10 + 16 * span["depth"]}" y="{y + 14}">{escape(span["name"])}</text>'
        f'<rect x="{start:.1f}" y="{y + 3}" width="{max(end - start, 1.5):.1f}" height="14" rx="2" fill="{colour}"/>'
        f'<text x="{end + 5:.1f}" y="{y + 14}" class="time">{took}</text>'
    )


def main() -> None:
    """Draws, or checks."""
    picture = draw(json.loads(RECORDING.read_text()))
    if "--check" not in sys.argv[1:]:
        PICTURE.write_text(picture)
    elif PICTURE.read_text() != picture:
        sys.exit(f"{PICTURE.name} differs from {RECORDING.name}: run scripts/draw_trace.py")


if __name__ == "__main__":
    main()
