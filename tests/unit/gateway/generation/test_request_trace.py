"""The spans of a request at the gateway, one case after the other."""

from prometheus_client import CollectorRegistry

from services.gateway.generation.request_trace import RequestTrace
from services.gateway.generation.retry import FailureCause, WorkerFailed
from services.shared.tracing import Tracing
from tests.support.clock import ManualClock
from tests.support.spans import KeptSpans
from tests.unit.gateway.generation.test_messages import generation
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2

NOTHING = worker_pb2.Usage()


class Traced:
    """One trace, and its spans once it is over."""

    def __init__(self) -> None:
        self.clock, self.kept = ManualClock(), KeptSpans()
        self._tracing = Tracing(self.kept, "gateway", CollectorRegistry(), self.clock)
        self.trace = RequestTrace(self._tracing, generation())

    async def seconds(self) -> dict[str, tuple[float, str]]:
        """How long each span lasted, and its error, by name."""
        await self._tracing.stop()
        return {
            span.name: (((span.end_time or 0) - (span.start_time or 0)) / 1e9, span.status.description or "")
            for span in self.kept.spans
        }


async def test_a_request_that_waits() -> None:
    traced = Traced()
    await traced.clock.advance(1)
    router = traced.trace.submitted(1)
    await traced.clock.advance(1)
    traced.trace.queued(router_pb2.Queued(position=4))
    await traced.clock.advance(8)
    traced.trace.queued(router_pb2.Queued(position=1))
    await traced.clock.advance(8)
    worker = traced.trace.granted(router_pb2.Grant(worker_id="w"))
    assert router == worker
    assert traced.trace.trace_id in router
    await traced.clock.advance(32)
    traced.trace.tokens_came()
    await traced.clock.advance(64)
    traced.trace.end("completed", "v", NOTHING)
    assert await traced.seconds() == {
        "admission": (2, ""),
        "queue": (16, ""),
        "prefill": (32, ""),
        "decode": (64, ""),
        "attempt 1": (113, ""),
        "request": (114, ""),
    }


async def test_a_request_that_is_refused() -> None:
    traced = Traced()
    traced.trace.submitted(1)
    await traced.clock.advance(2)
    traced.trace.end("failed", "", NOTHING)
    assert await traced.seconds() == {"admission": (2, ""), "attempt 1": (2, "failed"), "request": (2, "failed")}


async def test_a_failover_lasts_over_attempts_until_the_next_token() -> None:
    traced = Traced()
    lost = WorkerFailed("connection lost", FailureCause.ENGINE_DIED, worker_id="w")
    for number in (1, 2, 3):
        traced.trace.submitted(number)
        traced.trace.granted(router_pb2.Grant(worker_id="w"))
        await traced.clock.advance(1)
        if number == 1:
            traced.trace.tokens_came()
        if number < 3:
            traced.trace.failed(lost, begun=True)
    traced.trace.tokens_came()
    traced.trace.end("completed", "v", NOTHING)
    seconds = await traced.seconds()
    assert seconds["failover"] == (2, "")
    assert seconds["attempt 2"] == (1, "connection lost")
    assert traced.kept.names.count("failover") == 1


async def test_a_failover_before_the_first_token_is_no_gap_that_the_client_sees() -> None:
    traced = Traced()
    traced.trace.submitted(1)
    traced.trace.granted(router_pb2.Grant(worker_id="w"))
    traced.trace.failed(WorkerFailed("engine", FailureCause.ENGINE_DIED, worker_id="w"), begun=False)
    traced.trace.end("failed", "", NOTHING)
    assert "failover" not in await traced.seconds()
