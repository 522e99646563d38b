"""Runs of several methods are killed at random moments, by SIGKILL of any of their processes, and gone on with.

Each is compared with the same run that was not killed, and that of two processes with that of one.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from tests.integration.trainer import tiny
from tests.support.wait import wait_until
from trainer import loss_curve

SAVE_EVERY = 3
MOST_STEPS_A_LIFE = 3 * SAVE_EVERY
LIMIT_S = 900.0
"""Of one run."""
END_S = 30.0
"""Seconds that the processes of a run have to end when one of them was killed."""
NEAR = 1e-5
"""How far a loss of two processes may be from that of one."""
MARK = "TIDEGATE_DRILL"
"""Environment variable by which the processes of a run are known."""
SHARED: dict[str, Any] = {
    "base": "tiny",
    "held_out": 0.2,
    "learning_rate": 0.01,
    "batch": 2,
    "max_length": 64,
    "save_every": SAVE_EVERY,
    "seed": 7,
}
METHODS: dict[str, dict[str, Any]] = {
    "sft + LoRA": {"method": "sft", "adapter": {"r": 4, "dropout": 0.1}},
    "sft": {"method": "sft", "gradient_accumulation_steps": 2, "lr_scheduler_type": "cosine", "warmup_steps": 2},
    "dpo + LoRA": {"method": "dpo", "adapter": {"r": 4}},
}


@dataclass
class Report:
    """What was seen of one method on so many processes."""

    name: str
    processes: int
    kills: int = 0
    killed: list[str] = field(default_factory=list)
    """What was killed each time."""
    identical: bool = False
    """Weights and curve are those of the run that was not killed, byte for byte."""
    furthest: float = 0.0
    """The largest distance of a loss from that of the run that was not killed."""
    from_one: float | None = None
    """The largest distance of a loss from that of one process."""
    violations: list[str] = field(default_factory=list)

    def line(self) -> str:
        """For people."""
        same = "byte-identical" if self.identical else f"losses within {self.furthest:.1e}"
        one = "" if self.from_one is None else f"; within {self.from_one:.1e} of one process"
        return f"{self.name}, {self.processes} process(es): killed {self.kills} times, {same}{one}"


async def drill(folder: Path, name: str, counts: list[int], steps: int, kills: int, seed: int) -> list[Report]:
    """Makes the runs of one method."""
    await asyncio.to_thread(tiny.model, folder / "base", dtype="float32")
    keys = {**SHARED, **METHODS[name], "steps": steps}
    data = (tiny.preferences if keys["method"] == "dpo" else tiny.chats)(folder / "data.jsonl")
    reports = []
    for count in counts:
        own = {key: value for key, value in keys.items() if key != "parallel" or count > 1}
        recipe = folder / f"recipe-{count}.json"
        recipe.write_text(json.dumps({**own, "data": str(data)}))
        reports.append(await _one(recipe, folder / str(count), name, count, kills, Random(f"{seed}/{name}/{count}")))
    first, *others = reports
    for report in others if first.processes == 1 and "dropout" not in str(keys) else ():
        report.from_one = _distance(folder / "1/whole", folder / f"{report.processes}/whole")
        if report.from_one > NEAR:
            report.violations.append(f"a loss is {report.from_one:.1e} from that of one process")
    return reports


async def _one(recipe: Path, folder: Path, name: str, count: int, kills: int, random: Random) -> Report:
    report = Report(name, count)
    await asyncio.to_thread(folder.mkdir)
    await _until_it_ends(_start(recipe, folder / "whole", count), report)
    while report.kills < kills:
        if not await _kill(recipe, folder / "killed", count, random, report):
            break
    await _until_it_ends(_start(recipe, folder / "killed", count), report)
    whole, killed = folder / "whole", folder / "killed"
    weights = [(run / "merged/model.safetensors").read_bytes() for run in (whole, killed)]
    curves = [loss_curve.read(run / "metrics.jsonl") for run in (whole, killed)]
    report.identical = weights[0] == weights[1] and curves[0] == curves[1]
    report.furthest = _distance(whole, killed)
    if report.furthest > 1e-6:
        report.violations.append(f"a loss is {report.furthest:.1e} from that of the run that was not killed")
    return report


def _start(recipe: Path, folder: Path, count: int) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.robustness.training.run", str(recipe), str(folder), str(count)]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, env={**os.environ, MARK: str(folder)})


async def _until_it_ends(run: subprocess.Popen[bytes], report: Report) -> None:
    try:
        await wait_until(lambda: run.poll() is not None, description="the run ends", timeout=LIMIT_S, every=0.1)
    finally:
        run.kill()
    if run.returncode:
        report.violations.append(f"a run ended with status {run.returncode}")


async def _kill(recipe: Path, folder: Path, count: int, random: Random, report: Report) -> bool:
    """Kills one process of a run some steps after its first. Returns whether the run was still going on."""
    run, before, lives = _start(recipe, folder, count), _steps(folder), random.randint(0, MOST_STEPS_A_LIFE)
    try:
        await wait_until(
            lambda: run.poll() is not None or _steps(folder) - before >= lives,
            description="a run makes some steps",
            timeout=LIMIT_S,
        )
        await asyncio.sleep(random.random() * 0.2)
        if run.poll() is not None:
            return False
        processes = _processes(folder)
        what, process = random.choice(sorted(processes.items()))
        os.kill(process, signal.SIGKILL)
        report.kills += 1
        report.killed.append(what)
        await wait_until(lambda: run.poll() is not None, description="the run ends", timeout=END_S, every=0.1)
        await wait_until(lambda: not _processes(folder), description="no process stays", timeout=END_S, every=0.1)
        if run.returncode == 0:
            report.violations.append(f"the run ended well though its {what} was killed")
        return True
    finally:
        run.kill()
        run.wait()


def _processes(folder: Path) -> dict[str, int]:
    """The processes of a run that are alive, by what they are."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            environ = (entry / "environ").read_bytes().split(b"\0")
            command = (entry / "cmdline").read_bytes().decode()
        except OSError:
            continue
        if f"{MARK}={folder}".encode() in environ and command:
            rank = next((part.decode().lower() for part in environ if part.startswith(b"RANK=")), "")
            found[rank or ("agent" if "ranks.agent" in command else "run")] = int(entry.name)
    return found


def _steps(folder: Path) -> int:
    return max((line["step"] for line in loss_curve.read(folder / "metrics.jsonl")), default=0)


def _distance(one: Path, other: Path) -> float:
    curves = ([line["loss"] for line in loss_curve.read(run / "metrics.jsonl")] for run in (one, other))
    return max((abs(a - b) for a, b in zip(*curves, strict=True)), default=0.0)
