"""Stuck means: work, and no step for too long."""

from services.worker.engine.contract import EngineLoad
from services.worker.health import StepWatch


def test_an_engine_that_steps_is_well_however_long_it_works() -> None:
    watch = StepWatch(now=0)
    assert not any(watch.still_s(EngineLoad(running=9, steps=now), now) for now in range(1, 500))


def test_an_idle_engine_is_well() -> None:
    watch = StepWatch(now=0)
    assert not any(watch.still_s(EngineLoad(steps=5), now) for now in range(1000))


def test_time_without_a_step_counts_until_there_is_one() -> None:
    watch = StepWatch(now=0)
    watch.still_s(EngineLoad(steps=5), now=100)
    assert [watch.still_s(EngineLoad(waiting=1, steps=5), now=100 + seconds) for seconds in range(1, 31)][-1] == 30
    assert watch.still_s(EngineLoad(running=1, steps=6), now=131) == 0


def test_a_process_that_stood_still_itself_does_not_blame_its_engine() -> None:
    watch = StepWatch(now=0)
    watch.still_s(EngineLoad(running=1, steps=5), now=1)
    assert watch.still_s(EngineLoad(running=1, steps=5), now=61) <= 2
