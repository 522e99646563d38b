"""A small OpenTelemetry collector: it takes spans by OTLP over gRPC, and keeps them."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Collected:
    """A span. Times are in nanoseconds since 1970; `parent` is empty for the first span of a trace."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent: str
    start: int
    end: int
    attributes: dict[str, Any]
    error: str


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that processes send."""

    def __init__(self) -> None:
        self.spans: list[Collected] = []

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 -- gRPC names it
        for resource in request.resource_spans:
            service = _attributes(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [_collected(service, span) for span in scope.spans]
        del self.spans[:-KEPT]
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, trace_id: str) -> list[Collected]:
        """The spans of a trace, by their start."""
        return sorted((span for span in self.spans if span.trace_id == trace_id), key=lambda span: span.start)


@contextmanager
def collector() -> Iterator[tuple[Collector, str]]:
    """Runs a collector on a free port. Yields it and its URL."""
    kept, server = Collector(), grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield kept, f"http://127.0.0.1:{port}"
    finally:
        server.stop(1).wait()


def _collected(service: str, span: Any) -> Collected:
    return Collected(
        service=service,
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        start=span.start_time_unix_nano,
        end=span.end_time_unix_nano,
        attributes=_attributes(span.attributes),
        error=span.status.message,
    )


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
