"""Stuck means: work, and no step for too long."""

from services.worker.engine.contract import EngineLoad
from services.worker.health import StepWatch


def test_an_engine_that_steps_is_well_however_long_it_works() -> None:
    watch = StepWatch(30, now=0)
    assert not any(watch.stuck(EngineLoad(running=9, steps=now), now) for now in range(1, 500))


def test_an_idle_engine_is_well() -> None:
    watch = StepWatch(30, now=0)
    assert not watch.stuck(EngineLoad(steps=5), now=1000)


def test_work_without_steps_is_stuck_after_the_limit_and_not_before() -> None:
    watch = StepWatch(30, now=0)
    watch.stuck(EngineLoad(steps=5), now=100)
    assert not watch.stuck(EngineLoad(waiting=1, steps=5), now=129.9)
    assert watch.stuck(EngineLoad(running=1, steps=5), now=130)
    assert not watch.stuck(EngineLoad(running=1, steps=6), now=131)
