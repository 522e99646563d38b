"""Health means step progress: an engine that has work and finishes no step is stuck, even if its ports still answer."""

from services.worker.engine.contract import EngineLoad

# After a longer time between two checks the process itself was paused, and it cannot know what its engine did.
_MAX_CHECK_INTERVAL_S = 2.0


class StepWatch:
    """Measures how long an engine makes no progress. Ask it at least once a second."""

    def __init__(self, now: float) -> None:
        self._checked_at = now
        self._still_s = 0.0
        self._steps = 0

    def still_s(self, load: EngineLoad, now: float) -> float:
        """Returns the seconds for which the engine has had work and finished no step.

        Args:
            load: What the engine does now.
            now: Seconds of a monotonic clock.
        """
        idle = not (load.running or load.waiting)
        if idle or load.steps != self._steps:
            self._steps, self._still_s = load.steps, 0.0
        else:
            self._still_s += min(now - self._checked_at, _MAX_CHECK_INTERVAL_S)
        self._checked_at = now
        return self._still_s
