"""Health is step progress: an engine with work whose steps stand still is stuck, whatever its ports answer."""

from services.worker.engine.contract import EngineLoad

# Longer than this between two looks, the process itself stood still, and cannot tell what its engine did meanwhile.
_MAX_LOOK_S = 2.0


class StepWatch:
    """To be asked at least every second."""

    def __init__(self, now: float) -> None:
        self._looked_at = now
        self._still_s = 0.0
        self._steps = 0

    def still_s(self, load: EngineLoad, now: float) -> float:
        """For how long the engine has had work and finished no step; `now` in seconds of a monotonic clock."""
        idle = not (load.running or load.waiting)
        if idle or load.steps != self._steps:
            self._steps, self._still_s = load.steps, 0.0
        else:
            self._still_s += min(now - self._looked_at, _MAX_LOOK_S)
        self._looked_at = now
        return self._still_s
