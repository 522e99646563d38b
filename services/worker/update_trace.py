"""The spans of a weight update: one for each phase. They make a trace of their own."""

from services.shared.tracing import Span, Tracing
from services.worker.weight_update_report import Phase


class UpdateTrace:
    """Follows the weight updates of one worker, one at a time."""

    def __init__(self, tracing: Tracing, pool: str, worker_id: str) -> None:
        self._tracing = tracing
        self._about = {"tidegate.pool": pool, "tidegate.worker": worker_id}
        self._update: Span | None = None
        self._phase: Span | None = None

    def enter(self, version: str, phase: Phase, reason: str) -> None:
        """The update to a version is in another phase now."""
        failed = reason if phase is Phase.FAILED else ""
        if self._phase:
            self._phase.end(failed)
            self._phase = None
        if self._update is None:
            self._update = self._tracing.span("weight update", self._about | {"tidegate.model_version": version})
        if not phase.is_last:
            self._phase = self._update.child(phase.name.lower())
            return
        self._update.set({"tidegate.outcome": phase.name.lower()})
        self._update.end(failed)
        self._update = None
