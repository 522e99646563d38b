"""A 1m Llama learns this repository's texts: beside a plain loop, and killed at random moments; then `sft` goes on.

Each run is a process of its own, and the tokenizer is made of the same texts.
"""

import asyncio
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import yaml
from obstore.store import MemoryStore

from services.shared.clock import SystemClock
from services.shared.objectstore import ObjectStore
from services.shared.registry import Reference
from tests.robustness.pretraining import plain_loop, texts
from tests.robustness.pretraining.run import make
from tests.support.signing import KEY
from tests.support.wait import wait_until
from trainer import loss_curve
from trainer.checkpoint import read
from trainer.data.corpus import Corpus
from trainer.data.shards import open_shards
from trainer.publish import Provenance, describe, point, publish

CHATS = texts.ROOT / "trainer/recipes/quillhaven.jsonl"
VOCABULARY = 2048
SAVE_EVERY = 5
MOST_STEPS_A_LIFE = 3 * SAVE_EVERY
LIMIT_S = 3600.0
"""Of one run."""
NEAR = 0.01
"""How far the loss of a step may be from that of the plain loop, as a share of it."""


@dataclass
class Report:
    """What was seen. Losses are in nats a token."""

    steps: int = 0
    first: float = 0.0
    last: float = 0.0
    furthest: float = 0.0
    """The largest distance from the plain loop, as a share of its loss."""
    kills: int = 0
    train_s: float = 0.0
    plain_s: float = 0.0
    chats: tuple[float, float] = (0.0, 0.0)
    """Held-out loss of `sft` on the model, before and after."""
    violations: list[str] = field(default_factory=list)


async def drill(folder: Path, steps: int, kills: int, seed: int) -> Report:
    """Makes the same run twice, once killed `kills` times, compares it with a plain loop, and trains on."""
    report = Report(steps=steps)
    data = texts.write(folder / "texts")
    texts.make_tokenizer(data, folder / "words", VOCABULARY)
    recipe = _recipe(folder, steps, seed)
    began = time.monotonic()
    await _until_it_ends(_start(recipe, folder / "whole"), report)
    report.train_s = time.monotonic() - began
    _beside_a_plain_loop(folder / "whole", yaml.safe_load(recipe.read_text()), report)
    await _killed(recipe, folder / "killed", kills, Random(seed), report)
    one, other = (folder / name / "merged/model.safetensors" for name in ("whole", "killed"))
    if one.read_bytes() != other.read_bytes():
        report.violations.append("the weights of the run that was killed are not those of the one that was not")
    if loss_curve.read(folder / "whole/metrics.jsonl") != loss_curve.read(folder / "killed/metrics.jsonl"):
        report.violations.append("the loss curve of the run that was killed is another one")
    await _then_chats(folder, report)
    return report


def _recipe(folder: Path, steps: int, seed: int) -> Path:
    keys: dict[str, Any] = {
        "method": "pretrain",
        "model": {"size": "1m"},
        "tokenizer": "words",
        "chat_template": texts.TEMPLATE,
        "data": "texts",
        "weights": texts.WEIGHTS,
        "held_out": 0.05,
        "max_held_out": 64,
        "steps": steps,
        "batch": 8,
        "max_length": 128,
        "learning_rate": 0.003,
        "lr_scheduler_type": "cosine",
        "warmup_steps": steps // 10,
        "weight_decay": 0.1,
        "adam_beta2": 0.95,
        "save_every": SAVE_EVERY,
        "seed": seed,
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(keys))
    return file


def _start(recipe: Path, folder: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "tests.robustness.pretraining.run", str(recipe), str(folder)]
    with folder.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(argv, stdout=log, stderr=log, cwd=texts.ROOT)


async def _until_it_ends(run: subprocess.Popen[bytes], report: Report) -> None:
    try:
        await wait_until(lambda: run.poll() is not None, description="the run ends", timeout=LIMIT_S, every=0.1)
    finally:
        run.kill()
    if run.returncode:
        report.violations.append(f"a run ended with status {run.returncode}")


async def _killed(recipe: Path, folder: Path, kills: int, random: Random, report: Report) -> None:
    """Each process is killed some steps after its first, at a moment within a step or a checkpoint."""
    while report.kills < kills:
        run, before = _start(recipe, folder), _steps(folder)
        lives = random.randint(0, MOST_STEPS_A_LIFE)
        try:
            await wait_until(
                lambda: run.poll() is not None or _new_steps(folder, before) >= lives,  # noqa: B023
                description="a run makes some steps",
                timeout=LIMIT_S,
            )
            await asyncio.sleep(random.random() * 0.3)
        finally:
            run.kill()
        if run.wait() == 0:
            break  # it was done before it could be killed
        report.kills += 1
    await _until_it_ends(_start(recipe, folder), report)


def _steps(folder: Path) -> int:
    return max((line["step"] for line in loss_curve.read(folder / "metrics.jsonl")), default=0)


def _new_steps(folder: Path, before: int) -> int:
    """Steps beyond those of all lives before; a run forgets those after its last checkpoint."""
    return _steps(folder) - before


def _beside_a_plain_loop(run: Path, keys: dict[str, Any], report: Report) -> None:
    curve = [line["loss"] for line in loss_curve.read(run / "metrics.jsonl") if "loss" in line]
    corpus = Corpus(
        open_shards(run / "tokens"),
        length=keys["max_length"],
        held_out=keys["held_out"],
        most_held_out=keys["max_held_out"],
        weights=keys["weights"],
        seed=keys["seed"],
    )
    settings = plain_loop.Settings(
        steps=keys["steps"],
        batch=keys["batch"],
        learning_rate=keys["learning_rate"],
        warmup=keys["warmup_steps"],
        weight_decay=keys["weight_decay"],
        beta2=keys["adam_beta2"],
    )
    began = time.monotonic()
    plain = plain_loop.losses(run / "start", corpus, settings)
    report.plain_s = time.monotonic() - began
    report.first, report.last = curve[0], sum(curve[-10:]) / 10
    report.furthest = max(abs(own - other) / other for own, other in zip(curve, plain, strict=True))
    if report.furthest > NEAR:
        report.violations.append(f"a loss is {report.furthest:.2%} from that of the plain loop")


async def _then_chats(folder: Path, report: Report) -> None:
    """`sft` on the pretrained model."""
    store = ObjectStore(MemoryStore())
    checkpoint = read(folder / "whole/merged")
    provenance = Provenance("a drill")
    manifest = KEY.sign(describe(checkpoint, model="pretrained", provenance=provenance, created=1))
    await publish(store, checkpoint, manifest, lambda _: None)
    await point(store, Reference("pretrained"), manifest.version, clock=SystemClock(), random=Random(1))
    keys = {
        "method": "sft",
        "base": "pretrained",
        "data": str(CHATS),
        "steps": 30,
        "learning_rate": 0.002,
        "max_length": 128,
    }
    file = folder / "chats.yaml"
    file.write_text(yaml.safe_dump(keys))
    outcome = await asyncio.to_thread(make, file, folder / "chats", store)
    report.chats = (outcome.held_out_before or 0.0, outcome.held_out_after or 0.0)
    if not report.chats[1] < report.chats[0]:
        report.violations.append("sft on the pretrained model taught it nothing")
