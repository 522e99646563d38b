"""The spans of one request at the gateway: admission, queue, attempts with prefill and decode, failovers."""

from services.gateway.domain.generation import Generation
from services.gateway.generation.retry import WorkerFailed
from services.shared.tracing import Span, Tracing
from tidegate.router.v1 import router_pb2
from tidegate.worker.v1 import worker_pb2


class RequestTrace:
    """Follows one request. Its methods are called in the moment in which what they name happens."""

    def __init__(self, tracing: Tracing, generation: Generation) -> None:
        model = generation.model
        self._request = tracing.span(
            "request",
            {
                "tidegate.request_id": generation.id,
                "tidegate.pool": model.pool,
                "tidegate.model": model.id,
                "tidegate.class": generation.service_class.label,
                "tidegate.stream": generation.stream,
            },
            generation.traceparent,
        )
        self._admission: Span | None = self._request.child("admission")
        self._attempt: Span | None = None
        # Where the attempt is: queue, prefill or decode.
        self._phase: Span | None = None
        self._failover: Span | None = None

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, for logs."""
        return self._request.trace_id

    def submitted(self, number: int) -> str:
        """An attempt begins. Returns the traceparent for the router."""
        self._attempt = self._request.child(f"attempt {number}", {"tidegate.attempt": number})
        return self._attempt.traceparent

    def queued(self, queued: router_pb2.Queued) -> None:
        """The router holds the request. It tells its place several times."""
        self._admitted()
        if self._attempt and self._phase is None:
            self._phase = self._attempt.child("queue", {"tidegate.position": queued.position})

    def granted(self, grant: router_pb2.Grant) -> str:
        """A worker is given. Returns the traceparent for it."""
        self._admitted()
        if self._attempt is None:
            return ""
        self._attempt.set(
            {
                "tidegate.worker": grant.worker_id,
                "tidegate.model_version": grant.model_version,
                "tidegate.queue_wait_ms": grant.queue_wait_ms,
            }
        )
        self._enter("prefill")
        return self._attempt.traceparent

    def tokens_came(self) -> None:
        """The attempt has brought its first tokens."""
        self._enter("decode")
        if self._failover:
            self._failover.end()
            self._failover = None

    def failed(self, failure: WorkerFailed, *, begun: bool) -> None:
        """The attempt failed because of its worker. begun: the client has some of the answer, and waits for more."""
        self._leave(failure.reason)
        if begun and self._failover is None:
            self._failover = self._request.child(
                "failover", {"tidegate.reason": failure.reason, "tidegate.worker": failure.worker_id}
            )

    def end(self, outcome: str, version: str, usage: worker_pb2.Usage) -> None:
        """The request is over."""
        error = "" if outcome == "completed" else outcome
        self._admitted()
        self._leave(error)
        if self._failover:
            self._failover.end(error)
        self._request.set(
            {
                "tidegate.outcome": outcome,
                "tidegate.model_version": version,
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
                "tidegate.cached_tokens": usage.cached_tokens,
            }
        )
        self._request.end(error)

    def _admitted(self) -> None:
        if self._admission:
            self._admission.end()
            self._admission = None

    def _enter(self, phase: str) -> None:
        if self._phase:
            self._phase.end()
        self._phase = self._attempt.child(phase) if self._attempt else None

    def _leave(self, error: str) -> None:
        for span in (self._phase, self._attempt):
            if span:
                span.end(error)
        self._phase = self._attempt = None
