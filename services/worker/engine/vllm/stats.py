"""The load of the engine, from the figures that vLLM reports after each step; and whether drafting pays."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from vllm.v1.metrics.loggers import StatLoggerBase

from services.shared.clock import Clock
from services.worker.engine.contract import EngineLoad
from services.worker.engine.speculation_switch import SpeculationSwitch, Step
from services.worker.engine.vllm.draft_flag import DraftFlag


class StepStats:
    """Stores the newest figures."""

    def __init__(self, clock: Clock) -> None:
        self.kv_tokens = 0
        self._clock = clock
        self._steps = 0
        self._generated = 0
        self._running = 0
        self._waiting = 0
        self._kv_usage = 0.0
        self._drafted: list[int] = []
        self._accepted: list[int] = []
        self._switch: SpeculationSwitch | None = None
        self._flag: DraftFlag | None = None
        self._stepped_at = 0.0

    def switch_drafts(self, flag: DraftFlag) -> None:
        """Measures from now on whether drafting pays, and sets the flag."""
        self._switch, self._flag = SpeculationSwitch(), flag

    def load(self) -> EngineLoad:
        """Returns the load after the newest step."""
        switch = self._switch
        return EngineLoad(
            running=self._running,
            waiting=self._waiting,
            kv_tokens_used=round(self._kv_usage * self.kv_tokens),
            steps=self._steps,
            generated_tokens=self._generated,
            drafted=tuple(self._drafted),
            accepted=tuple(self._accepted),
            drafts=switch.drafts if switch else None,
            switched_on=switch.switched_on if switch else 0,
            switched_off=switch.switched_off if switch else 0,
        )

    def record(self, scheduler: Any, iteration: Any) -> None:
        """Stores the figures of one step; vLLM passes None for those that the step does not have."""
        self._steps += 1
        if self._switch and scheduler is not None:
            self._measure(self._switch, scheduler, iteration)
        if scheduler is not None:
            self._running, self._waiting = scheduler.num_running_reqs, scheduler.num_waiting_reqs
            self._kv_usage = scheduler.kv_cache_usage
            if drafts := scheduler.spec_decoding_stats:
                self._drafted = _summed(self._drafted, drafts.num_draft_tokens_per_pos)
                self._accepted = _summed(self._accepted, drafts.num_accepted_tokens_per_pos)
        if iteration is not None:
            self._generated += iteration.num_generation_tokens

    def _measure(self, switch: SpeculationSwitch, scheduler: Any, iteration: Any) -> None:
        """Shows the switch a step in which the same sequences as before each generated, and no prompt began."""
        now, running = self._clock.monotonic(), scheduler.num_running_reqs
        took, self._stepped_at = now - self._stepped_at, now
        is_plain = running and running == self._running and not scheduler.num_waiting_reqs and not self._waiting
        if is_plain and iteration and not iteration.num_prompt_tokens and iteration.num_generation_tokens >= running:
            switch.saw(Step(running, iteration.num_generation_tokens, took))
        if running and self._flag:
            self._flag.set(on=switch.plan(running))

    def logger(self, vllm_config: Any, engine_index: int = 0) -> StatLoggerBase:
        """Makes the logger that vLLM calls after each step; vLLM calls this once for each engine."""
        return _Logger(self)


def _summed(counts: Sequence[int], more: Sequence[int]) -> list[int]:
    return [count + one for count, one in zip_longest(counts, more, fillvalue=0)]


class _Logger(StatLoggerBase):  # type: ignore[misc]
    def __init__(self, stats: StepStats) -> None:
        self._stats = stats

    def record(
        self, scheduler_stats: Any, iteration_stats: Any, mm_cache_stats: Any = None, engine_idx: int = 0
    ) -> None:
        self._stats.record(scheduler_stats, iteration_stats)

    def log_engine_initialized(self) -> None: ...
