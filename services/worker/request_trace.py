"""The spans of one attempt at its worker: from Start to the first token, and from there to the last."""

from collections.abc import Mapping

from services.shared.tracing import HEADER, Span, Tracing
from services.worker.engine.contract import Delta, Take
from tidegate.worker.v1 import worker_pb2 as pb


class RequestTrace:
    """Follows one attempt."""

    def __init__(self, tracing: Tracing, start: pb.Start, worker_id: str) -> None:
        self._span = tracing.span(
            "worker",
            {
                "tidegate.request_id": start.request_id,
                "tidegate.attempt": start.attempt,
                "tidegate.worker": worker_id,
                "tidegate.resumed_tokens": sum(len(point.token_ids) for point in start.resume),
            },
            start.trace_parent,
        )
        self._phase: Span | None = self._span.child("engine prefill")
        self._waits = True

    @property
    def headers(self) -> Mapping[str, str]:
        """What the engine needs to go on with the trace."""
        return {HEADER: self._span.traceparent}

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits, for logs."""
        return self._span.trace_id

    def watching(self, take: Take) -> Take:
        """Returns a `take` that notices the first token."""

        def watch(delta: Delta) -> bool:
            if self._waits:
                self._waits = False
                if self._phase:
                    self._phase.end()
                self._phase = self._span.child("engine decode")
            return take(delta)

        return watch

    def end(self, ended: pb.Ended) -> None:
        """The attempt is over."""
        error = pb.FailureKind.Name(ended.failure.kind) if ended.HasField("failure") else ""
        if self._phase:
            self._phase.end(error)
        usage = ended.usage
        self._span.set(
            {"gen_ai.usage.input_tokens": usage.prompt_tokens, "gen_ai.usage.output_tokens": usage.completion_tokens}
        )
        self._span.end(error)
