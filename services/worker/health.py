"""Health is step progress: an engine with work whose steps stand still is stuck, whatever its ports answer."""

from services.worker.engine.contract import EngineLoad


class StepWatch:
    """limit_s: how long an engine with work may go without finishing a step."""

    def __init__(self, limit_s: float, now: float) -> None:
        self._limit_s = limit_s
        self._moved_at = now
        self._steps = 0

    def stuck(self, load: EngineLoad, now: float) -> bool:
        """Tells the watch what the engine is at; `now` in seconds of a monotonic clock."""
        idle = not (load.running or load.waiting)
        if idle or load.steps != self._steps:
            self._steps, self._moved_at = load.steps, now
        return now - self._moved_at >= self._limit_s
