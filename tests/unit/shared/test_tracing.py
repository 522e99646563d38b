"""Traces: off by default, bounded, and nothing is lost unseen."""

import subprocess
import sys

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from prometheus_client import CollectorRegistry

from services.shared.settings import WrongSettings
from services.shared.tracing import Tracing, endpoint_of, tracing
from services.worker.update_trace import UpdateTrace
from services.worker.weight_update_report import Phase
from tests.support.clock import ManualClock
from tests.support.spans import KeptSpans

HERE = "http://collector:4317"


def counted(registry: CollectorRegistry, outcome: str) -> float | None:
    return registry.get_sample_value("tidegate_router_trace_spans_total", {"outcome": outcome})


@pytest.mark.parametrize(
    ("configured", "environ", "endpoint"),
    [
        (None, {}, None),
        (HERE, {}, HERE),
        (HERE, {"OTEL_TRACES_EXPORTER": "none"}, None),
        (HERE, {"OTEL_SDK_DISABLED": "true"}, None),
        (HERE, {"OTEL_EXPORTER_OTLP_ENDPOINT": "https://b:1"}, "https://b:1"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "x", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t:1"}, "http://t:1"),
    ],
)
def test_variables_come_before_the_configuration(
    configured: str | None, environ: dict[str, str], endpoint: str | None
) -> None:
    assert endpoint_of(configured, environ) == endpoint


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "OTEL_EXPORTER_OTLP_PROTOCOL = 'http/protobuf'"),
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER = 'zipkin'"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "'collector:4317'"),
    ],
)
def test_what_cannot_be_done_stops_the_start(environ: dict[str, str], named: str) -> None:
    with pytest.raises(WrongSettings, match=named.replace("/", ".")):
        endpoint_of(HERE, environ)


def test_nothing_is_imported_while_traces_are_off() -> None:
    # The router is not asked: redis-py imports parts of OpenTelemetry by itself.
    program = (
        "import sys, services.gateway.app, services.worker.serve\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
    assert tracing(None, "gateway", CollectorRegistry(), ManualClock()) is None


async def test_spans_that_find_no_room_are_dropped_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "4")
    registry, exporter = CollectorRegistry(), KeptSpans(blocked=True)
    traced = Tracing(exporter, "router", registry, ManualClock())
    for _ in range(50):
        traced.span("one", {}).end()
    assert (counted(registry, "dropped") or 0) >= 50 - 2 * 4
    exporter.go.set()
    await traced.stop()
    assert counted(registry, "exported") == len(exporter.spans) == 50 - (counted(registry, "dropped") or 0)


async def test_spans_that_the_collector_does_not_take_are_counted() -> None:
    registry, exporter = CollectorRegistry(), KeptSpans(SpanExportResult.FAILURE)
    traced = Tracing(exporter, "router", registry, ManualClock())
    traced.span("one", {}).end()
    await traced.stop()
    assert (counted(registry, "failed"), counted(registry, "exported")) == (1, 0)


def test_a_wrong_size_of_the_queue_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "many")
    with pytest.raises(WrongSettings, match="OTEL_BSP_MAX_QUEUE_SIZE = 'many'"):
        Tracing(KeptSpans(), "router", CollectorRegistry(), ManualClock())


async def test_the_client_decides_which_traces_are_recorded() -> None:
    exporter = KeptSpans()
    traced = Tracing(exporter, "router", CollectorRegistry(), ManualClock())
    trace_id = "0af7651916cd43dd8448eb211c80319c"
    recorded = traced.span("recorded", {}, f"00-{trace_id}-b7ad6b7169203331-01")
    left_out = traced.span("left out", {}, f"00-{trace_id}-b7ad6b7169203331-00")
    assert recorded.trace_id == left_out.trace_id == trace_id
    assert left_out.child("below").traceparent.endswith("-00")
    wrong = traced.span("wrong header", {}, "not a traceparent")
    for span in (recorded, left_out, wrong):
        span.end()
        span.end()
    await traced.stop()
    assert exporter.names == ["recorded", "wrong header"]


async def test_a_weight_update_has_a_span_for_each_phase() -> None:
    exporter, clock = KeptSpans(), ManualClock()
    traced = Tracing(exporter, "worker", CollectorRegistry(), clock)
    trace = UpdateTrace(traced, "tide", "w")
    for phase in (Phase.STAGING, Phase.HOLDING, Phase.SWAPPING, Phase.PROVING, Phase.COMMITTED):
        trace.enter("v2", phase, "")
    trace.enter("v3", Phase.STAGING, "")
    trace.enter("v3", Phase.FAILED, "no such version")
    await traced.stop()
    names = ["staging", "holding", "swapping", "proving", "weight update", "staging", "weight update"]
    assert exporter.names == names
    assert exporter.spans[-1].status.description == "no such version"
    assert exporter.spans[4].attributes is not None
    assert exporter.spans[4].attributes["tidegate.outcome"] == "committed"
