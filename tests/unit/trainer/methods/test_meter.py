"""The meter of a run: what a step cost is the difference to the step before."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.clock import ManualClock
from trainer.methods.meter import Meter
from trainer.step_figures import StepFigures, read

ARGUMENTS = SimpleNamespace(use_cpu=True, world_size=2)


async def test_rates_are_those_of_the_last_step(tmp_path: Path) -> None:
    clock = ManualClock()
    meter = Meter(tmp_path, clock)

    def log(tokens: int, flops: float, *, is_first: bool = True, **logs: float) -> StepFigures:
        state = SimpleNamespace(is_world_process_zero=is_first, total_flos=flops)
        meter.on_log(ARGUMENTS, state, None, {"loss": 1.0, "num_tokens": tokens, **logs})
        return read(tmp_path)

    meter.on_train_begin(ARGUMENTS, None, None)
    first = log(100, 1e9, learning_rate=0.1, grad_norm=2.0)
    assert (first.tokens_per_second, first.flops_per_second) == (None, None)
    await clock.advance(2)
    second = log(500, 5e9, learning_rate=0.05, grad_norm=1.0)
    assert (second.tokens_per_second, second.flops_per_second, second.devices) == (200.0, 2e9, 2)
    assert (second.learning_rate, second.grad_norm, second.device) == (0.05, 1.0, None)
    assert second.memory_bytes == pytest.approx(1e9, rel=0.99)
    await clock.advance(2)
    assert log(9000, 9e9, is_first=False) == second
