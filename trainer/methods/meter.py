"""Measures what the steps of a run cost."""

import resource
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from services.shared.clock import Clock
from trainer.step_figures import StepFigures


class Meter(TrainerCallback):  # type: ignore[misc]
    """Writes the figures of each logged step into the folder of the run."""

    def __init__(self, run: Path, clock: Clock) -> None:
        self._run, self._clock = run, clock
        self._last: tuple[float, float, float] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called before the first step."""
        self._last = None

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Called after each logged step."""
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        now = (self._clock.monotonic(), float(logs.get("num_tokens", 0)), float(state.total_flos))
        seconds, tokens, flops = (one - two for one, two in zip(now, self._last or now, strict=True))
        self._last = now
        on_gpu = torch.cuda.is_available() and not args.use_cpu
        StepFigures(
            learning_rate=logs.get("learning_rate"),
            grad_norm=logs.get("grad_norm"),
            tokens_per_second=tokens / seconds if seconds > 0 and tokens > 0 else None,
            memory_bytes=torch.cuda.max_memory_allocated() if on_gpu else _peak_memory(),
            flops_per_second=flops / seconds if seconds > 0 and flops > 0 else None,
            device=torch.cuda.get_device_name() if on_gpu else None,
            devices=args.world_size,
        ).write(self._run)


def _peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # Linux counts in KiB
