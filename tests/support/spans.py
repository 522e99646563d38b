"""Spans that stay in the process: an exporter that keeps them."""

import threading
from collections.abc import Sequence

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult


class KeptSpans(SpanExporter):
    """Keeps spans, once it is let go.

    Args:
        result: What it answers.
        blocked: It waits for `go` before it takes any.
    """

    def __init__(self, result: SpanExportResult = SpanExportResult.SUCCESS, *, blocked: bool = False) -> None:
        self.spans: list[ReadableSpan] = []
        self.go = threading.Event()
        self._result = result
        if not blocked:
            self.go.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.go.wait(30)
        self.spans += spans
        return self._result

    def shutdown(self) -> None:
        pass

    @property
    def names(self) -> list[str]:
        """Of the spans, in the order in which they ended."""
        return [span.name for span in self.spans]
