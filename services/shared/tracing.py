"""Traces by OpenTelemetry, sent to a collector by OTLP over gRPC. They are off unless a collector is named.

Nothing of OpenTelemetry is imported while they are off. Spans name requests, workers, versions and counts of tokens;
they never hold text of prompts or answers.
"""

import asyncio
import logging
import os
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter

from services.shared.clock import Clock
from services.shared.counting import Children
from services.shared.settings import WrongSettings

if TYPE_CHECKING:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

log = logging.getLogger(__name__)

Attributes = Mapping[str, str | int | float | bool]
HEADER = "traceparent"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
QUEUE_SIZE = "OTEL_BSP_MAX_QUEUE_SIZE"
MAX_WAITING_SPANS = 2048
STOP_S = 5.0


def endpoint_of(configured: str | None, environ: Mapping[str, str] = os.environ) -> str | None:
    """Returns where spans go; None: nowhere. OpenTelemetry's own variables come before tidegate.yaml.

    Args:
        configured: `traces_endpoint` of tidegate.yaml.
        environ: The variables.

    Raises:
        WrongSettings: A variable asks for what there is not.
    """
    exporter = environ.get("OTEL_TRACES_EXPORTER", "otlp")
    if exporter == "none" or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    endpoint = next((environ[name] for name in ENDPOINTS if environ.get(name)), configured)
    if endpoint is None:
        return None
    if exporter != "otlp":
        raise WrongSettings(f"OTEL_TRACES_EXPORTER = {exporter!r}: only otlp and none are possible")
    for name in PROTOCOLS:
        if environ.get(name, "grpc") != "grpc":
            raise WrongSettings(f"{name} = {environ[name]!r}: only grpc is possible; name the collector's port for it")
    if not endpoint.startswith(("http://", "https://")):
        raise WrongSettings(f"the endpoint for traces = {endpoint!r}: it begins with http:// or https://")
    return endpoint


def tracing(endpoint: str | None, process: str, registry: CollectorRegistry, clock: Clock) -> "Tracing | None":
    """Returns what makes the spans of a process, or None without an endpoint.

    Args:
        endpoint: Of the collector.
        process: Name of the process, for its spans and metrics.
        registry: Where lost spans are counted.
        clock: Gives the spans their times.

    Raises:
        WrongSettings: A variable of OpenTelemetry is wrong.
    """
    if endpoint is None:
        return None
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

    log.info("traces go to %s", endpoint)
    return Tracing(OTLPSpanExporter(endpoint=endpoint), process, registry, clock)


class Tracing:
    """Makes the spans of one process, and sends them in the background.

    At most OTEL_BSP_MAX_QUEUE_SIZE spans wait; more are dropped and counted. OTEL_TRACES_SAMPLER decides which traces
    are recorded, if the client did not.
    """

    def __init__(self, exporter: "SpanExporter", process: str, registry: CollectorRegistry, clock: Clock) -> None:
        """Raises WrongSettings for a wrong size of the queue."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._clock, self._exporter = clock, exporter
        counted = Counter(
            f"tidegate_{process}_trace_spans_total", "Spans, by what became of them", ["outcome"], registry=registry
        )
        own = {"service.name": f"tidegate-{process}", "service.namespace": "tidegate"}
        self._provider = TracerProvider(resource=Resource.create(own), shutdown_on_exit=False)
        self._provider.add_span_processor(_bounded(exporter, Children(counted)))
        self._tracer = self._provider.get_tracer("tidegate")

    def span(self, name: str, attributes: Attributes, parent: str = "") -> "Span":
        """Begins a span.

        Args:
            name: What it measures.
            attributes: What it says.
            parent: The W3C traceparent that it belongs to. Empty or wrong: it begins a trace.
        """
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        context = TraceContextTextMapPropagator().extract({HEADER: parent}) if parent else None
        return Span(self, self._begun(name, context, attributes))

    def _begun(self, name: str, context: Any, attributes: Attributes) -> "trace.Span":
        return self._tracer.start_span(name, context, attributes=attributes, start_time=self.now())

    def now(self) -> int:
        """Nanoseconds since 1970."""
        return int(self._clock.wall() * 1e9)

    async def stop(self) -> None:
        """Sends what waits, for STOP_S seconds at most."""
        done, loop = asyncio.Event(), asyncio.get_running_loop()

        def shut_down() -> None:
            self._provider.shutdown()
            # A loop that is closed by then waits for nothing.
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # Not a thread of the loop's own: the loop would wait for it.
        threading.Thread(target=shut_down, name="last spans", daemon=True).start()
        try:
            async with asyncio.timeout(STOP_S):
                await done.wait()
        except TimeoutError:
            log.warning("the collector did not take the last spans within %g s", STOP_S)


class Span:
    """One span. Its methods cost nothing worth mentioning if its trace is not recorded."""

    def __init__(self, tracing: Tracing, span: "trace.Span") -> None:
        self._tracing, self._span = tracing, span

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, for logs."""
        return f"{self._span.get_span_context().trace_id:032x}"

    @property
    def traceparent(self) -> str:
        """What the next process needs to go on with the trace."""
        own = self._span.get_span_context()
        return f"00-{own.trace_id:032x}-{own.span_id:016x}-{int(own.trace_flags):02x}"

    def child(self, name: str, attributes: Attributes | None = None) -> "Span":
        """Begins a span inside this one."""
        from opentelemetry.trace import set_span_in_context

        return Span(self._tracing, self._tracing._begun(name, set_span_in_context(self._span), attributes or {}))

    def set(self, attributes: Attributes) -> None:
        """Says more about it."""
        self._span.set_attributes(attributes)

    def end(self, error: str = "") -> None:
        """Ends it. error: why what it measures failed. A second call does nothing."""
        if not self._span.is_recording():
            return
        if error:
            from opentelemetry.trace import StatusCode

            self._span.set_status(StatusCode.ERROR, error)
        self._span.end(self._tracing.now())


def _bounded(exporter: "SpanExporter", counted: Children[Counter]) -> Any:
    """A processor that queues at most as many spans as the variable says, and counts what becomes of them."""
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    given = os.environ.get(QUEUE_SIZE) or str(MAX_WAITING_SPANS)
    if not given.isdigit() or not int(given):
        raise WrongSettings(f"{QUEUE_SIZE} = {given!r}: it is a whole number above 0")
    most, waiting, lock = int(given), 0, threading.Lock()

    class Counting(SpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            nonlocal waiting
            with lock:
                waiting -= len(spans)
            result = exporter.export(spans)
            counted["exported" if result is SpanExportResult.SUCCESS else "failed"].inc(len(spans))
            return result

        def shutdown(self) -> None:
            exporter.shutdown()

    class Bounded(BatchSpanProcessor):
        def on_end(self, span: "ReadableSpan") -> None:
            nonlocal waiting
            if not (span.context and span.context.trace_flags.sampled):
                return
            with lock:
                full = waiting >= most
                waiting += not full
            if full:
                counted["dropped"].inc()
            else:
                super().on_end(span)

    for outcome in ("exported", "failed", "dropped"):
        counted[outcome]  # an alert can see a counter grow, but not a counter that appears
    return Bounded(Counting(), max_queue_size=most, max_export_batch_size=min(512, most))
