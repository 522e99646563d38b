"""vLLM's scheduler with a switch for drafts. vLLM imports it by name, in its engine process.

vLLM can have another number of draft tokens for each size of the batch, and 0 is one (vLLM 0.32). It reads the table
for this once, at its start. Here the table is chosen before each step.
"""

import os
from pathlib import Path
from typing import Any

from vllm.v1.core.sched.async_scheduler import AsyncScheduler
from vllm.v1.core.sched.scheduler import Scheduler

from services.worker.engine.vllm.draft_flag import VARIABLE, DraftFlag


def make(**arguments: Any) -> Scheduler:
    """Stands for the class that vLLM expects here: the kind of scheduler depends on its configuration."""
    is_async = arguments["vllm_config"].scheduler_config.async_scheduling
    return (_SwitchedAsync if is_async else _Switched)(**arguments)


class _Switch:
    """Before vLLM's scheduler in the order of the bases."""

    dynamic_sd_lookup: list[int] | None

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        if self.dynamic_sd_lookup is None:
            raise RuntimeError(
                "this vLLM has no table of draft tokens by batch size: engine/vllm/switched_scheduler.py"
            )
        self._flag = DraftFlag(Path(os.environ[VARIABLE]))
        self._drafting, self._plain = self.dynamic_sd_lookup, [0] * len(self.dynamic_sd_lookup)

    def schedule(self, *arguments: Any, **named: Any) -> Any:
        """Plans the next step."""
        self.dynamic_sd_lookup = self._drafting if self._flag.on else self._plain
        return super().schedule(*arguments, **named)  # type: ignore[misc]


class _Switched(_Switch, Scheduler):  # type: ignore[misc]
    pass


class _SwitchedAsync(_Switch, AsyncScheduler):  # type: ignore[misc]
    pass
