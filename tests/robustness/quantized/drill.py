"""One drill: SmolLM2 in INT8 is published and served, replaced by another version, and rolled back."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtests.precisions.loss import Loss, held_out_loss
from loadtests.target import Target
from services.shared.held_out import passages
from tests.support.cluster import UP_S, RunningCluster, running_cluster, tidegate
from trainer.quantize import Precision, quantize
from trainer.quantize import held_out_loss as loss_of_folder
from trainer.sources.packaged import ANSWER, QUESTION, PackagedSmolLM2

MODEL = "smollm2-int8"
_CONFIG = (
    f"pools: [{{name: {MODEL}, model: {MODEL}, engine: {{kind: vllm, context_tokens: 512, kv_memory_gib: 0.1}}}}]\n"
)
NEXT = "next"
"""The alias of the second version."""
BOUND = 0.03
"""By how much the loss may be above that of the weights before, as a share of it. Seen: 0.020."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, and the version that gave it."""

    text: str
    version: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the drill saw.

    Attributes:
        loss_before: Of the weights before, in float32, by Transformers.
        loss: Of the quantized model, as it is served.
        answers: To the same question: at first, after the rollout of the second version, and after going back.
        versions: In the order of their imports.
        golden: Golden prompts that the worker proved when it started first.
    """

    loss_before: float
    loss: float
    answers: list[Answered]
    versions: list[str]
    golden: int


def wrong(seen: Seen) -> Iterator[str]:
    """What must not be; nothing, if all is well."""
    if not seen.loss <= seen.loss_before * (1 + BOUND):
        yield f"the loss is {seen.loss:.4f}, more than {BOUND:.0%} above {seen.loss_before:.4f}"
    old, new = seen.versions
    times = ("at first", "after the rollout", "after going back")
    for when, version, answer in zip(times, (old, new, old), seen.answers, strict=True):
        if answer != Answered(ANSWER, version):
            yield f"{when}: {answer} is not {ANSWER!r} of {version}"
    if not seen.golden:
        yield "the first version has no golden prompts"


def run(folder: Path) -> Seen:
    """Runs the drill in an empty folder."""
    models, home = folder / "models", folder / "cluster"
    for made in (models / "plain", home):
        made.mkdir(parents=True)
    plain = PackagedSmolLM2().prepare(models / "plain")
    quantize(plain, models / MODEL, Precision.INT8)
    second = _second(models / MODEL, models / "second")
    with running_cluster(home, _CONFIG, "--model", str(models / MODEL)) as cluster:
        answers = [_ask(cluster)]
        (worker,) = json.loads(_command(home, "workers", "list", "--json"))
        loss = asyncio.run(_loss(cluster))
        options = ("--name", MODEL, "--alias", NEXT, "--no-golden", "--json")
        new = json.loads(_command(home, "models", "import", str(second), *options))["version"]
        for command in (("promote", MODEL, NEXT), ("rollback", MODEL)):
            _command(home, "models", *command)
            answers.append(_ask(cluster))
    versions = [answers[0].version, new]
    return Seen(loss_of_folder(plain), loss.mean, answers, versions, worker["golden_prompts_proved"])


def _command(home: Path, *arguments: str) -> str:
    """The output of a `tidegate` command. Raises AssertionError when it fails."""
    done = tidegate(home, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _second(folder: Path, target: Path) -> Path:
    """The same model with its last norm a little larger: the same greedy answers, another version."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, target)
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 1.0625
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    return target


def _ask(cluster: RunningCluster) -> Answered:
    body = {"model": MODEL, "messages": [{"role": "user", "content": QUESTION}], "temperature": 0, "max_tokens": 16}
    headers = {"authorization": f"Bearer {cluster.key}"}
    response = httpx.post(f"{cluster.rest}/chat/completions", json=body, headers=headers, timeout=UP_S)
    assert response.status_code == httpx.codes.OK, response.text
    content = response.json()["choices"][0]["message"]["content"]
    return Answered(content, response.headers["x-tidegate-model-version"])


async def _loss(cluster: RunningCluster) -> Loss:
    return await held_out_loss(Target.of(cluster.rest, cluster.key), MODEL, passages())
