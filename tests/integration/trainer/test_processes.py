"""Two processes learn a run together: what one would.

Each start of two processes takes 15 seconds of CPU, so there is one here. tests/robustness/training kills them.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from tests.integration.trainer import tiny
from trainer import loss_curve
from trainer.order import Outcome
from trainer.run import Run

pytestmark = [pytest.mark.timeout(300), pytest.mark.filterwarnings("default")]
RECIPE: dict[str, Any] = {"adapter": None, "batch": 2, "gradient_accumulation_steps": 2, "steps": 6, "save_every": 2}


class Watcher:
    def phase(self, name: str) -> None:
        pass

    def note(self, text: str) -> None:
        pass

    def step(self, done: int, total: int, loss: float) -> None:
        pass

    def uploading(self, total_bytes: int) -> Callable[[int], None]:
        return lambda _: None


def make(folder: Path, count: int) -> Outcome:
    folder.mkdir(exist_ok=True)
    store = ObjectStore(MemoryStore())
    base = tiny.model(folder / "base", dtype="float32")
    asyncio.run(tiny.publish_base(store, base))
    order = tiny.order(tiny.recipe(tiny.chats(folder / "chats.jsonl"), **RECIPE), folder)
    run = Run(
        replace(order, processes=count),
        tiny.registrar(store),
        Watcher(),
        clock=SystemClock(),
        random=Random(1),
    )
    return run.make()


def curve(folder: Path) -> list[float]:
    return [figure for line in loss_curve.read(folder / "run/metrics.jsonl") for figure in (line["loss"],)]


def test_two_processes_learn_what_one_process_learns(tmp_path: Path) -> None:
    alone, together = make(tmp_path / "alone", 1), make(tmp_path / "two", 2)
    assert curve(tmp_path / "two") == pytest.approx(curve(tmp_path / "alone"), abs=1e-5)
    assert (together.held_out_before, together.counts) == (alone.held_out_before, alone.counts)
    assert together.held_out_after == pytest.approx(alone.held_out_after, abs=1e-5)
